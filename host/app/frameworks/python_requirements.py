"""Reads which Python packages an application requires, by their names in its lists."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from host.app.dependencies.project_files import get_table, read_toml
from host.files.source_tree import SourceTree

# A requirement: its name and its extras. Source: PEP 508.
REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?\s*(?=$|[\s;#\\(]|[<>=!~@])", re.ASCII
)
LOCKED = re.compile(r"""^name = ["']([\w.-]+)["']""", re.MULTILINE)
LOCK_FILES = ("uv.lock", "poetry.lock")


@dataclass(frozen=True)
class Requirements:
    """Normalized names: `direct` are those that the application names itself, `all` all of them.

    A name with an extra is there as `name[extra]` too.
    """

    direct: frozenset[str]
    all: frozenset[str]


def read_requirements(tree: SourceTree, folder: str) -> Requirements:
    """Return what the lists and lock files of that folder name; a key of a table is no list."""
    direct = frozenset(_list_direct(tree, folder))
    texts = (tree.read_text(f"{folder}/{name}") or "" for name in LOCK_FILES)
    locked = {_normalize(name) for text in texts for name in LOCKED.findall(text)}
    return Requirements(direct, direct | locked)


def _list_direct(tree: SourceTree, folder: str) -> Iterator[str]:
    for line in (tree.read_text(f"{folder}/requirements.txt") or "").splitlines():
        yield from _read_names(line)
    project = read_toml(tree, folder, "pyproject.toml")
    lists = [get_table(project, "project").get("dependencies")]
    lists += get_table(project, "project", "optional-dependencies").values()
    for found in lists:
        for text in found if isinstance(found, list) else ():
            yield from _read_names(str(text))
    poetry = get_table(project, "tool", "poetry", "dependencies")
    pipfile = get_table(read_toml(tree, folder, "Pipfile"), "packages")
    for name in (*poetry, *pipfile):
        yield _normalize(name)


def _read_names(text: str) -> Iterator[str]:
    """Yield the name of a requirement, and its name with each of its extras."""
    if match := REQUIREMENT.match(text):
        name = _normalize(match[1])
        yield name
        for extra in (match[2] or "").split(","):
            if extra.strip():
                yield f"{name}[{_normalize(extra.strip())}]"


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
