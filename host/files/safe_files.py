"""Files that are whole or absent, links that switch at once, paths that stay where they should."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from host.errors import Refused
from host.process.runner import User

TAIL_BYTES = 64 * 1024


def write_atomic(
    path: Path,
    data: bytes,
    mode: int = 0o644,
    owner: User | None = None,
    *,
    outlasts_boot: bool = True,
) -> None:
    """Put `data` at `path` in one step that survives a crash; `owner` needs root.

    What says nothing after a restart of the machine need not wait for the disk.
    """
    fresh = _beside(path)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            os.fchmod(file.fileno(), mode)  # after the owner: a chown clears bits of the mode
            file.write(data)
            file.flush()
            if outlasts_boot:
                os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if outlasts_boot:
        _sync_folder(path.parent)


def replace_link(target: Path | str, link: Path, folder: int | None = None) -> None:
    """Point the symlink `link` at `target` by one rename: a reader sees the old or the new.

    Where an open `folder` is given, `link` is a name in it.
    """
    fresh = _beside(link)
    os.symlink(target, fresh, dir_fd=folder)
    try:
        os.rename(fresh, link, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        raise
    _sync_folder(link.parent, folder)


@contextmanager
def folder_beneath(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """Open a folder below `root`, or `root` itself, following no symlink on the way.

    Raises Refused `path_invalid` (400) for a part that is a symlink or no folder, and
    FileNotFoundError.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            inner = _open_at(folder, part, os.O_DIRECTORY)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def open_beneath(root: Path, relative: str) -> IO[bytes]:
    """Open a regular file below `root` for reading, following no symlink on the way.

    Raises Refused `path_invalid` (400) for a path that leaves `root`, meets a symlink or names
    no regular file, and FileNotFoundError.
    """
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise _path_invalid()
    with folder_beneath(root, parts[:-1]) as folder:
        # O_NONBLOCK: to open a FIFO would wait for its writer
        file = _open_at(folder, parts[-1], os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _path_invalid()
    return os.fdopen(file, "rb")


def read_tail(path: Path, lines: int = 200, since: int = 0) -> str:
    """Return the last lines of a log (of its last 64 KiB), none from before the byte `since`.

    An absent log is empty; one that ends before `since` was begun anew, and all of it is later. A
    NUL is replaced as what is no UTF-8 is: the database's text holds none.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= end else 0, end - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.replace("\0", "\N{REPLACEMENT CHARACTER}").splitlines()[-lines:])


def _open_at(folder: int, name: str, flags: int) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR):
            raise _path_invalid() from None
        raise


def _path_invalid() -> Refused:
    return Refused("path_invalid", "Not the path of a file in that folder.", status=400)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}")


def _sync_folder(folder: Path, within: int | None = None) -> None:
    """Make the rename itself last: it is an entry of the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
