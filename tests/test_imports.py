"""The direction of imports: `a ← b` means that b may import a, and never the other way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each room and the rooms it may know, most particular first; a room may always know itself.
BASE = {"oroboros.lib", "oroboros.errors"}
DATABASE = {*BASE, "oroboros.clock", "oroboros.claims", "oroboros.statements"}
# Plain Python, as slots.host.
ON_DISK = {"releases.hooks", "releases.pointer", "releases.seal", "releases.way"}
ROOMS = {
    "oroboros.lib": {"oroboros.errors"},
    "oroboros.errors": set(),
    "oroboros.clock": set(),
    "oroboros.claims": {"oroboros.clock"},
    "oroboros.statements": set(),
    "oroboros.runtime": {*BASE, "slots.host", *ON_DISK},
    "slots.host": BASE,
    "slots": {*DATABASE, "slots.host"},
    "releases": {*DATABASE, "slots.host"},
    "runs": {*DATABASE, "slots", "slots.host", "releases"},
    "oroboros": {*DATABASE, "slots", "slots.host", "releases", "runs"},
}
# Strings of an upper room that Django or DRF resolve are no imports; these are real ones.
FRAMEWORK = {"oroboros.api", "oroboros.identity"}
DESK = {"oroboros.desk", "oroboros.identity", "oroboros.templatetags"}
# What must start in milliseconds, without Django.
PLAIN = ("oroboros.lib", "oroboros.errors", "oroboros.runtime", "slots.host", *ON_DISK)


def room_of(module):
    """Return the most particular room a module lies in, or None for foreign code."""
    matches = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    return max(matches, key=len, default=None)


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources():
    for top in ("oroboros", "slots", "releases", "runs"):
        yield from (p for p in (ROOT / top).rglob("*.py") if "migrations" not in p.parts)


def imports(path):
    """Return what the file imports, wherever in it, as absolute dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", sorted(sources()), ids=module_name)
def test_a_room_imports_only_what_lies_below_it(path):
    room = room_of(module_name(path))
    allowed = {room, *ROOMS[room]}
    # API views are written against the project's strict serializers and pages.
    if path.name in ("api.py", "serializers.py") or "api" in path.parts:
        allowed |= FRAMEWORK
    if path.name == "admin.py" or "admin" in path.parts:
        allowed |= DESK
    wrong = {
        name
        for name in imports(path)
        if room_of(name) is not None
        and not any(
            name == good or room_of(name) == good or name.startswith(f"{good}.") for good in allowed
        )
    }
    # `from oroboros.lib import git` names the room `oroboros.lib`; the bare package is empty.
    wrong -= {"oroboros", "slots", "releases", "runs"}
    assert not wrong


@pytest.mark.parametrize(
    "path", [p for p in sorted(sources()) if module_name(p).startswith(PLAIN)], ids=module_name
)
def test_the_shell_commands_ground_knows_no_django(path):
    assert not {n for n in imports(path) if n.split(".")[0] in ("django", "rest_framework")}


@pytest.mark.parametrize("package", ["oroboros", "slots"])
def test_packages_on_the_shell_commands_way_stay_empty(package):
    assert (ROOT / package / "__init__.py").read_text() == ""
