"""Copies a frontend's built files to a folder that only we can change."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from host.errors import Refused
from host.files import safe_files, safe_walk

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO would wait for its writer.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# RFC 8615. Other names that begin with a dot are settings, secrets and repositories: not pages.
WELL_KNOWN = ".well-known"


def is_hidden(parts: Sequence[str]) -> bool:
    """Return whether the file or folder with this path in a build's output is never served."""
    return any(
        part.startswith(".") and (number > 0 or part != WELL_KNOWN)
        for number, part in enumerate(parts)
    )


def copy_public_folder(root: Path, relative: Path, destination: Path) -> list[str]:
    """Copy the folder `relative` below `root` to `destination`, which must not exist.

    Only files and folders are copied: a link in a build's output could point to any file of this
    host. Hidden ones are not copied either. Returns the paths that were left out. Raises Refused
    `build_failed` as `open_public_folder`, or for folders that are nested too deeply.
    """
    with open_public_folder(root, relative) as folder:
        return copy_files(folder, destination, is_hidden)


@contextmanager
def open_public_folder(root: Path, relative: Path) -> Iterator[int]:
    """Open the folder `relative` below `root`, where processes of the build may still change links.

    Raises Refused `build_failed` if it does not exist, or is a link or below one.
    """
    folder = os.open(root, FOLDER_FLAGS)
    try:
        for part in relative.parts:
            try:
                inner = os.open(part, FOLDER_FLAGS, dir_fd=folder)
            except FileNotFoundError:
                detail = (
                    f"The build created no folder {relative}: name its folder in [frontend] output."
                )
                raise Refused("build_failed", detail) from None
            except NotADirectoryError:  # also the error of O_NOFOLLOW for a link
                detail = f"{relative} is not served: {part} is a link or a file and no folder."
                raise Refused("build_failed", detail) from None
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def list_files_with_header(folder: int, header: bytes, sizes: range) -> Iterator[str]:
    """Yield the served files of an open folder that have one of the sizes and begin so.

    Links are not followed.
    """
    for path, folders, names, inner in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        parts = PurePosixPath(path).parts
        folders[:] = sorted(name for name in folders if not is_hidden([*parts, name]))
        for name in sorted(names):
            status = os.stat(name, dir_fd=inner, follow_symlinks=False)
            is_candidate = stat.S_ISREG(status.st_mode) and status.st_size in sizes
            if is_candidate and not is_hidden([*parts, name]):
                with os.fdopen(os.open(name, FILE_FLAGS, dir_fd=inner), "rb") as file:
                    if file.read(len(header)) == header:
                        yield "/".join([*parts, name])


def copy_files(
    folder: int,
    destination: Path,
    is_left_out: Callable[[Sequence[str]], bool] = lambda parts: False,
) -> list[str]:
    """Copy the files and folders of an open folder to `destination`, which must not exist.

    Links and special files are left out, and so are the paths of which `is_left_out` returns true;
    returns the paths of both. The copy takes as much space as the folder: holes and files with
    several names stay what they are. Raises Refused `build_failed` for folders that are nested too
    deeply.
    """
    return _Copy(is_left_out).copy_folder(folder, destination, ())


@dataclass(frozen=True)
class _Copy:
    """One copy of a folder; `copies` has the copy of each file that has several names."""

    is_left_out: Callable[[Sequence[str]], bool]
    copies: dict[tuple[int, int], Path] = field(default_factory=dict)

    def copy_folder(self, folder: int, destination: Path, parts: Sequence[str]) -> list[str]:
        safe_walk.require_shallow(parts)
        destination.mkdir(mode=0o755)
        left_out = []
        for name in sorted(os.listdir(folder)):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            path = [*parts, name]
            if self.is_left_out(path):
                left_out.append("/".join(path))
            elif stat.S_ISDIR(status.st_mode):
                inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
                try:
                    left_out += self.copy_folder(inner, destination / name, path)
                finally:
                    os.close(inner)
            elif stat.S_ISREG(status.st_mode):
                self.copy_file(folder, name, destination / name, status)
            else:
                left_out.append("/".join(path))
        return left_out

    def copy_file(self, folder: int, name: str, destination: Path, status: os.stat_result) -> None:
        """Copy one file, or give its copy another name."""
        key = (status.st_dev, status.st_ino)
        if not (key in self.copies and safe_files.link_file(self.copies[key], destination)):
            _copy_file(folder, name, destination)
            if status.st_nlink > 1:
                self.copies[key] = destination


def _copy_file(folder: int, name: str, destination: Path) -> None:
    """Copy one file; its new modification time keeps a browser from using another run's copy."""
    source = os.open(name, FILE_FLAGS, dir_fd=folder)
    with os.fdopen(source, "rb") as reader, destination.open("xb") as writer:
        safe_files.copy_data(reader.fileno(), writer.fileno())
