"""The changed files as a tree of folders."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from runs.difference import FileChange

# Deeper folders are part of the names of their files: each level is a template within another.
DEPTH = 10


@dataclass(frozen=True)
class FileNode:
    """A file: its place among the changed files, from 1, and its path below the folder."""

    number: int
    name: str
    change: FileChange


@dataclass
class FolderNode:
    """A folder, with the lines that were added and deleted in all files below it.

    One that only has another folder is named with it, as in "runs/admin".
    """

    name: str
    folders: list["FolderNode"] = field(default_factory=list)
    files: list[FileNode] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(1 for _ in self._walk())

    @property
    def added(self) -> int:
        return sum(node.change.added or 0 for node in self._walk())

    @property
    def deleted(self) -> int:
        return sum(node.change.deleted or 0 for node in self._walk())

    def _walk(self) -> Iterator[FileNode]:
        yield from self.files
        for folder in self.folders:
            yield from folder._walk()


def build_tree(changes: Sequence[FileChange]) -> FolderNode:
    """Return the root of the tree. Folders come first; both are in the order of the changes."""
    nodes = [(change.path.split("/"), number, change) for number, change in enumerate(changes, 1)]
    return _build("", nodes, 0)


def _build(
    name: str, nodes: Iterable[tuple[Sequence[str], int, FileChange]], depth: int
) -> FolderNode:
    below: dict[str, list[tuple[Sequence[str], int, FileChange]]] = {}
    files = []
    for parts, number, change in nodes:
        if len(parts) == 1 or depth == DEPTH:
            files.append(FileNode(number, "/".join(parts), change))
        else:
            below.setdefault(parts[0], []).append((parts[1:], number, change))
    folders = [_build(one, inner, depth + 1) for one, inner in below.items()]
    if name and not files and len(folders) == 1:
        return FolderNode(f"{name}/{folders[0].name}", folders[0].folders, folders[0].files)
    return FolderNode(name, folders, files)
