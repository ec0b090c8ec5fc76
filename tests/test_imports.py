"""The structure: imports go down one list, in no circle; packages and files stay small."""

import ast
import functools
from pathlib import Path

import pytest

from tests.packages import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
# These start in milliseconds: nothing that they import may import Django.
WITHOUT_DJANGO = ("host", "slots.runtime", "ops")
DJANGO = ("django", "rest_framework", "django_q", "unfold", "drf_spectacular", "environ")
MODULES_AT_MOST = 14
LINES_AT_MOST = 400


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def sources():
    """Return the path of every module of ours by its dotted name, migrations aside."""
    found = (path for top in PACKAGES for path in sorted((ROOT / top).rglob("*.py")))
    return {module_name(path): path for path in found if "migrations" not in path.parts}


@functools.cache
def imported(module):
    """Return the dotted names that a module imports, at its top or anywhere within it."""
    found = set()
    for node in ast.walk(ast.parse(sources()[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute here"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` imports the module; any other name lies in `package`.
            found |= {name if name in sources() else node.module for name in names}
    return found


def ours(module):
    return {name for name in imported(module) if name in sources()}


def reachable(module):
    """Return all modules of ours that are imported when `module` is."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += ours(name)
    return seen


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_module_imports_only_what_is_before_its_package_in_the_order(module):
    own = PACKAGES.index(module.partition(".")[0])
    tops = {name.partition(".")[0] for name in ours(module)}
    assert tops <= set(PACKAGES[: own + 1])


def test_every_top_level_package_is_in_the_order():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(PACKAGES)


def test_no_modules_import_each_other_in_a_circle():
    circles = {
        module: name
        for module in sources()
        for name in ours(module)
        if name != module and module in reachable(name)
    }
    assert not circles


def starts_without_django(module):
    return module.startswith(tuple(f"{name}." for name in WITHOUT_DJANGO))


@pytest.mark.parametrize("module", sorted(filter(starts_without_django, sources())))
def test_what_starts_in_milliseconds_reaches_no_django(module):
    guilty = {
        name
        for name in reachable(module)
        if {top.partition(".")[0] for top in imported(name)} & set(DJANGO)
    }
    assert not guilty


def test_a_package_has_one_sentence_and_a_bounded_number_of_modules():
    for module, path in sources().items():
        if path.name != "__init__.py" or "management" in path.parts:
            continue
        body = ast.parse(path.read_text()).body
        assert body, f"{module} does not say what belongs there"
        beside = [one for one in path.parent.glob("*.py") if one != path]
        assert len(beside) <= MODULES_AT_MOST, module


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_long_file_says_on_its_first_lines_why_it_is_long(module):
    lines = sources()[module].read_text().splitlines()
    assert len(lines) <= LINES_AT_MOST or any("400 lines" in line for line in lines[:12])
