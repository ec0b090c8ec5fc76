"""Atomic writes and link changes, and opening files below a folder without following links."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from host.errors import Refused
from host.process.users import User

TAIL_BYTES = 64 * 1024
COPY_BYTES = 1024 * 1024


def write_atomic(
    path: Path,
    data: bytes,
    mode: int = 0o644,
    owner: User | None = None,
    *,
    survives_reboot: bool = True,
) -> None:
    """Write `data` to `path` atomically; setting an `owner` needs root.

    With `survives_reboot` it waits until the data is on the disk; a file that is meaningless after
    a reboot need not.
    """
    # 0600 until the owner and the mode are set: a secret is readable at no moment.
    fresh = _temporary_name(path)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            os.fchmod(file.fileno(), mode)  # after the owner: a chown clears bits of the mode
            file.write(data)
            file.flush()
            if survives_reboot:
                os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if survives_reboot:
        _sync_folder(path.parent)


def replace_link(target: Path | str, link: Path, folder: int | None = None) -> None:
    """Point the symlink `link` at `target` by one rename: a reader sees the old or the new one.

    With an open `folder`, `link` is a name in it.
    """
    fresh = _temporary_name(link)
    # symlink(2) does not replace an existing link; rename(2) does, atomically.
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
    """Open a folder below `root`, or `root` itself, without following symlinks.

    Raises Refused `path_invalid` (400) for a part that is a symlink or no folder, and
    FileNotFoundError.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            # One part at a time: O_NOFOLLOW covers only the last part of a path.
            inner = _open_at(folder, part, os.O_DIRECTORY)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def open_beneath(root: Path, relative: str) -> IO[bytes]:
    """Open a regular file below `root` for reading, without following symlinks.

    Raises Refused `path_invalid` (400) for a path that leaves `root`, meets a symlink or names
    no regular file, and FileNotFoundError.
    """
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise _path_invalid()
    with folder_beneath(root, parts[:-1]) as folder:
        # O_NONBLOCK: opening a FIFO would wait for its writer
        file = _open_at(folder, parts[-1], os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _path_invalid()
    return os.fdopen(file, "rb")


def read_tail(path: Path, lines: int = 200, since: int = 0) -> str:
    """Return the last lines of a log (of its last 64 KiB), only those after the byte `since`.

    A line whose beginning lies before these 64 KiB is left out, unless it is the only one.
    An absent log is empty; one that is shorter than `since` was rotated, and counts from its
    start. Invalid UTF-8 is replaced, and so are NULs, which PostgreSQL's text cannot hold.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            first = since if since <= end else 0
            start = file.seek(max(first, end - TAIL_BYTES))
            raw = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return ""
    if start > first:
        raw = raw.partition(b"\n")[2] or raw
    text = raw.decode(errors="replace")
    return "\n".join(text.replace("\0", "\N{REPLACEMENT CHARACTER}").splitlines()[-lines:])


def link_file(existing: Path, path: Path) -> bool:
    """Give a file another name; returns whether it worked: the number of its names is limited."""
    try:
        os.link(existing, path, follow_symlinks=False)
    except OSError:
        return False
    return True


def copy_data(source: int, target: int) -> None:
    """Copy an open file to an empty one; holes stay holes, which take no space (lseek(2)).

    What a process appends meanwhile is not copied.
    """
    size, end = os.fstat(source).st_size, 0
    while (start := _find_data(source, end)) < size:
        end = min(size, os.lseek(source, start, os.SEEK_HOLE))
        while start < end:
            data = os.pread(source, min(COPY_BYTES, end - start), start)
            if not data:  # the file was shortened
                return
            start += os.pwrite(target, data, start)
    os.ftruncate(target, size)


def _find_data(source: int, start: int) -> int:
    """Return where the next data begins; the size of the file if there is none."""
    try:
        return os.lseek(source, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.fstat(source).st_size


def _open_at(folder: int, name: str, flags: int) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR):
            raise _path_invalid() from None
        raise


def _path_invalid() -> Refused:
    return Refused("path_invalid", "Not the path of a file in that folder.", status=400)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}")


def _sync_folder(folder: Path, within: int | None = None) -> None:
    """Flush the folder to the disk: a rename is a change of the folder, not of the file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
