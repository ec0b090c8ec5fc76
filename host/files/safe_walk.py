"""Trees of any depth, folder by folder, with no more than two descriptors open and no recursion.

Who builds or runs here may nest folders deeper than Python recurses, than a process may open
files, and than a path may be long: `os.fwalk` and `shutil.rmtree` end in the middle of that.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.errors import Refused

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Of what is copied and checked by its paths, which have at most 4096 bytes with ours before them.
DEEPEST = 200
LONGEST_BYTES = 2000


@dataclass(frozen=True)
class Folder:
    """A folder on the way: its descriptor, `way` from the root, and what lies in it by name.

    Descriptor and way are good until the next folder is asked for. Links are among the `names`,
    whatever they lead to.
    """

    descriptor: int
    way: Sequence[str]
    folders: Sequence[str]
    names: Sequence[str]


def folders(root: Path, *, deepest_first: bool = False) -> Iterator[Folder]:
    """Yield `root` and each folder below it, a folder before what lies in it or else after.

    No link is followed, and a folder that we may not enter is passed over. Raises OSError, and that
    too where somebody moves folders meanwhile.
    """
    way: list[str] = []
    above: list[_Visit] = []
    descriptor = os.open(root, FLAGS)
    try:
        visit = _Visit.of(descriptor)
        if not deepest_first:
            yield Folder(descriptor, way, visit.folders, visit.names)
        while True:
            inner = _next(visit, descriptor)
            if inner is not None:
                name, below = inner
                os.close(descriptor)
                descriptor = below
                above.append(visit)
                way.append(name)
                visit = _Visit.of(descriptor)
                if not deepest_first:
                    yield Folder(descriptor, way, visit.folders, visit.names)
                continue
            if deepest_first:
                yield Folder(descriptor, way, visit.folders, visit.names)
            if not above:
                return
            visit = above.pop()
            way.pop()
            outer = os.open("..", FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = outer
            if _identity(descriptor) != visit.identity:
                raise OSError(errno.ESTALE, "A folder was moved while we were in it", str(root))
    finally:
        os.close(descriptor)


def require_shallow(way: Sequence[str]) -> None:
    """Raise Refused `build_failed` for a folder that cannot be reached by its path everywhere."""
    if len(way) > DEEPEST or sum(len(os.fsencode(name)) + 1 for name in way) > LONGEST_BYTES:
        raise Refused(
            "build_failed",
            f"There are folders nested deeper than {DEEPEST}, or with paths of more than "
            f"{LONGEST_BYTES} bytes, below {'/'.join(way[:3])}: have the build make none.",
        )


@dataclass(frozen=True)
class _Visit:
    """A folder that we are in or below: who it is, what is in it, where we have not been yet."""

    identity: tuple[int, int]
    folders: list[str]
    names: list[str]
    ahead: list[str]

    @classmethod
    def of(cls, descriptor: int) -> "_Visit":
        inner: list[str] = []
        names: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                (inner if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        return cls(_identity(descriptor), inner, names, inner.copy())


def _next(visit: _Visit, descriptor: int) -> tuple[str, int] | None:
    """Open the next folder within that we may enter; None if there is no more."""
    while visit.ahead:
        name = visit.ahead.pop()
        try:
            below = os.open(name, FLAGS, dir_fd=descriptor)
        except PermissionError:
            continue
        if os.access(".", os.X_OK, dir_fd=below):  # it may be readable only
            return name, below
        os.close(below)
    return None


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
