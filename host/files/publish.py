"""Copy what a build made into a folder that is ours: after that nobody but us can change it."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.errors import Refused
from host.files import safe_walk

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: to open a FIFO would wait for its writer.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_public(root: Path, relative: Path, destination: Path) -> list[str]:
    """Copy the folder `relative` below `root` to `destination`, which must not exist.

    Only files and folders: a link in a build's output could name any file of this host. Returns
    the paths that were left out. Raises Refused `build_failed` as `opened`, or for folders that are
    nested too deeply.
    """
    with opened(root, relative) as folder:
        return _copy(folder, destination, [])


@contextmanager
def opened(root: Path, relative: Path) -> Iterator[int]:
    """Open the folder `relative` below `root`, which whoever builds there may change meanwhile.

    Raises Refused `build_failed` if it is not there, or is a link or below one.
    """
    folder = os.open(root, FOLDER_FLAGS)
    try:
        for part in relative.parts:
            try:
                inner = os.open(part, FOLDER_FLAGS, dir_fd=folder)
            except FileNotFoundError:
                detail = f"The build left no folder {relative}: say in [frontend] output which."
                raise Refused("build_failed", detail) from None
            except NotADirectoryError:  # what O_NOFOLLOW says of a link, too
                detail = f"{relative} is not served: {part} is a link or a file and no folder."
                raise Refused("build_failed", detail) from None
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _copy(folder: int, destination: Path, way: list[str]) -> list[str]:
    safe_walk.require_shallow(way)
    destination.mkdir(mode=0o755)
    left_out = []
    for name in sorted(os.listdir(folder)):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
            try:
                left_out += _copy(inner, destination / name, [*way, name])
            finally:
                os.close(inner)
        elif stat.S_ISREG(mode):
            _copy_file(folder, name, destination / name)
        else:
            left_out.append("/".join([*way, name]))
    return left_out


def _copy_file(folder: int, name: str, destination: Path) -> None:
    """Copy one file; its time is new, so that a browser never takes it for another run's."""
    source = os.open(name, FILE_FLAGS, dir_fd=folder)
    with os.fdopen(source, "rb") as reader, destination.open("xb") as writer:
        shutil.copyfileobj(reader, writer)
