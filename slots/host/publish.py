"""Copy what a build made into a folder that is ours: after that nobody but us can change it."""

import os
import shutil
import stat
from pathlib import Path

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: to open a FIFO would wait for its writer.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_public(root: Path, relative: Path, destination: Path) -> list[str]:
    """Copy the folder `relative` below `root` to `destination`, which must not exist.

    Only files and folders: a link in a build's output could name any file of this host. Returns
    the paths that were left out. Raises OSError if the folder is not there or is itself a link.
    """
    folder = os.open(root, FOLDER_FLAGS)
    try:
        for part in relative.parts:
            inner = os.open(part, FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        return _copy(folder, destination, "")
    finally:
        os.close(folder)


def _copy(folder: int, destination: Path, place: str) -> list[str]:
    destination.mkdir(mode=0o755)
    left_out = []
    for name in sorted(os.listdir(folder)):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
            try:
                left_out += _copy(inner, destination / name, f"{place}{name}/")
            finally:
                os.close(inner)
        elif stat.S_ISREG(mode):
            _copy_file(folder, name, destination / name)
        else:
            left_out.append(f"{place}{name}")
    return left_out


def _copy_file(folder: int, name: str, destination: Path) -> None:
    """Copy one file; its time is new, so that a browser never takes it for another run's."""
    source = os.open(name, FILE_FLAGS, dir_fd=folder)
    with os.fdopen(source, "rb") as reader, destination.open("xb") as writer:
        shutil.copyfileobj(reader, writer)
