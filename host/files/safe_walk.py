"""Walks trees of any depth, with at most two open descriptors and without recursion.

A build may nest folders deeper than Python's recursion limit, the limit of open files, or the
longest path: `os.fwalk` and `shutil.rmtree` fail in the middle of such a tree.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.errors import Refused

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Limits for trees that are copied by path: PATH_MAX is 4096 bytes, with our own prefix.
MAX_DEPTH = 200
MAX_PATH_BYTES = 2000


@dataclass(frozen=True)
class Folder:
    """A folder of the walk: its descriptor, the `parts` of its path from the root, its entries.

    Descriptor and parts are valid until the next folder is requested. `names` are all entries that
    are not folders; links are among them, also those to folders.
    """

    descriptor: int
    parts: Sequence[str]
    folders: Sequence[str]
    names: Sequence[str]


def walk_folders(
    root: Path, *, deepest_first: bool = False, dir_fd: int | None = None
) -> Iterator[Folder]:
    """Yield `root` and each folder below it: a folder before its subfolders, or after them.

    A relative `root` is below the folder that is open as `dir_fd`.

    Links are not followed, and folders that we may not enter are skipped. Raises OSError, also if
    a process moves folders meanwhile.
    """
    parts: list[str] = []
    ancestors: list[_Visit] = []
    descriptor = os.open(root, FLAGS, dir_fd=dir_fd)
    try:
        visit = _Visit.of(descriptor)
        if not deepest_first:
            yield Folder(descriptor, parts, visit.folders, visit.names)
        while True:
            inner = _enter_next(visit, descriptor)
            if inner is not None:
                name, below = inner
                os.close(descriptor)
                descriptor = below
                ancestors.append(visit)
                parts.append(name)
                visit = _Visit.of(descriptor)
                if not deepest_first:
                    yield Folder(descriptor, parts, visit.folders, visit.names)
                continue
            if deepest_first:
                yield Folder(descriptor, parts, visit.folders, visit.names)
            if not ancestors:
                return
            visit = ancestors.pop()
            parts.pop()
            outer = os.open("..", FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = outer
            # ".." leads to the new parent if the folder was moved: the walk must not follow.
            if _device_and_inode(descriptor) != visit.device_and_inode:
                raise OSError(errno.ESTALE, "A folder was moved during the walk", str(root))
    finally:
        os.close(descriptor)


def require_shallow(parts: Sequence[str]) -> None:
    """Raise Refused `build_failed` for a folder that is too deep to be copied by its path."""
    if len(parts) > MAX_DEPTH or sum(len(os.fsencode(name)) + 1 for name in parts) > MAX_PATH_BYTES:
        raise Refused(
            "build_failed",
            f"There are folders nested deeper than {MAX_DEPTH}, or with paths of more than "
            f"{MAX_PATH_BYTES} bytes, below {'/'.join(parts[:3])}: have the build make none.",
        )


@dataclass(frozen=True)
class _Visit:
    """A folder on the path to the current one: its identity, its entries, the folders to visit."""

    device_and_inode: tuple[int, int]
    folders: list[str]
    names: list[str]
    unvisited: list[str]

    @classmethod
    def of(cls, descriptor: int) -> "_Visit":
        inner: list[str] = []
        names: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                (inner if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        return cls(_device_and_inode(descriptor), inner, names, inner.copy())


def _enter_next(visit: _Visit, descriptor: int) -> tuple[str, int] | None:
    """Open the next subfolder that we may enter; None if there is none left."""
    while visit.unvisited:
        name = visit.unvisited.pop()
        try:
            below = os.open(name, FLAGS, dir_fd=descriptor)
        except PermissionError:
            continue
        if os.access(
            ".", os.X_OK, dir_fd=below, effective_ids=True
        ):  # it may be readable but not enterable
            return name, below
        os.close(below)
    return None


def _device_and_inode(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
