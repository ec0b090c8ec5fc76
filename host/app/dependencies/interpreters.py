"""Checks that the host's interpreters are those that an application asks for."""

import re
from collections.abc import Iterator
from pathlib import Path

from host.app.dependencies.install import Tools
from host.app.dependencies.project_files import get_text, join, read_json, read_toml
from host.app.dependencies.version_ranges import is_satisfied, parse_version
from host.errors import ApplicationRefused
from host.files.source_tree import SourceTree

PYTHON_FOLDERS = ("/usr/local/bin", "/usr/bin")
# A version, as pyenv, uv, Heroku and nvm write it; other text names an alias or an implementation.
PYTHON_PIN = re.compile(r"(?:python-|cpython@?-?)?(\d+(?:\.\d+){0,2})(?:-.*)?")
NODE_PIN = re.compile(r"v?(\d+(?:\.\d+){0,2})")

# A file of the tree, with what it asks for: a range, or a pin.
Demand = tuple[str, str, bool]


def check_python(tree: SourceTree, folders: list[str], tools: Tools) -> list[str]:
    """Return notes on Python versions that differ in the last number only, or are not understood.

    Raises Refused `manifest_invalid` naming the file if the host's Python is another one.
    """
    version = parse_version(tools.python_version.partition("Python ")[2] or tools.python_version)
    demands = [demand for folder in folders for demand in _list_python_demands(tree, folder)]
    advice = (
        f"Change it, or have the operator set OROBOROS_APP_PYTHON to such an interpreter; on this "
        f"host: {', '.join(_list_pythons()) or tools.python}."
    )
    return _check(demands, version, "Python", advice)


def check_node(tree: SourceTree, folders: list[str], tools: Tools) -> list[str]:
    """Return notes as `check_python`. Raises Refused `manifest_invalid` naming the file."""
    version = parse_version(tools.node_version)
    demands = [demand for folder in folders for demand in _list_node_demands(tree, folder)]
    advice = "Change it, or have the operator install that Node.js on this host."
    return _check(demands, version, "Node.js", advice) if version else []


def _check(
    demands: list[Demand], version: tuple[int, ...], language: str, advice: str
) -> list[str]:
    notes: list[str] = []
    present = ".".join(str(number) for number in version)
    for where, text, is_pin in dict.fromkeys(demands):
        # The last number of a pin is one of many that only fix bugs.
        wanted = ".".join(text.split(".")[: _count_significant(language)]) if is_pin else text
        answer = is_satisfied(version, wanted)
        if answer is False:
            detail = f"{where} asks for {language} {text}, and this host has {present}. {advice}"
            raise ApplicationRefused("manifest_invalid", detail, fields={"file": where})
        if answer is None:
            notes.append(f"{where}: {text!r} is not understood; {language} is {present} here.")
        elif is_pin and is_satisfied(version, text) is False:
            notes.append(f"{where} asks for {language} {text}; it runs on {present} here.")
    return notes


def _count_significant(language: str) -> int:
    return 2 if language == "Python" else 1


def _list_pythons() -> list[str]:
    """Return the interpreters of the host's usual folders."""
    found = [path for folder in PYTHON_FOLDERS for path in Path(folder).glob("python3.*")]
    return sorted(str(path) for path in found if re.fullmatch(r"python3\.\d+", path.name))


def _read_first_line(tree: SourceTree, path: str) -> list[str]:
    """Return the first line of the file that has more than a comment; nothing if it has none."""
    lines = (tree.read_text(path) or "").splitlines()
    texts = (line.partition("#")[0].strip() for line in lines)
    return [text for text in texts if text][:1]


def _list_python_demands(tree: SourceTree, folder: str) -> Iterator[Demand]:
    for name in (".python-version", "runtime.txt"):
        for line in _read_first_line(tree, f"{folder}/{name}"):
            match = PYTHON_PIN.fullmatch(line)
            yield join(folder, name), match[1] if match else line, True
    project = read_toml(tree, folder, "pyproject.toml")
    where = join(folder, "pyproject.toml")
    requires = get_text(project, "project", "requires-python")
    if requires:
        yield f"{where}, requires-python", requires, False
    poetry = get_text(project, "tool", "poetry", "dependencies", "python")
    if poetry:
        yield f"{where}, tool.poetry.dependencies.python", poetry, False
    pipfile = read_toml(tree, folder, "Pipfile")
    for key in ("python_version", "python_full_version"):
        wanted = get_text(pipfile, "requires", key)
        if wanted:
            yield join(folder, "Pipfile"), wanted, True


def _list_node_demands(tree: SourceTree, folder: str) -> Iterator[Demand]:
    for name in (".nvmrc", ".node-version"):
        for line in _read_first_line(tree, f"{folder}/{name}"):
            match = NODE_PIN.fullmatch(line)
            yield join(folder, name), match[1] if match else line, True
    engines = get_text(read_json(tree, folder, "package.json"), "engines", "node")
    if engines:
        yield f"{join(folder, 'package.json')}, engines.node", engines, False
