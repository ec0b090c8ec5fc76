"""Logs of the processes we start: opened by us, and rotated."""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

LOG_BYTES = 10 * 1024 * 1024


def open_append(path: Path, gid: int | None = None) -> IO[bytes]:
    """Open a log for appending. Its process inherits the open file, and cannot rename it.

    A process of another user, whose group is `gid`, may open it again as /dev/stdout or
    /dev/stderr: the kernel then checks the file's mode (proc_pid_fd(5)), and the folder is ours.
    Raises OSError, also if `path` is a symlink.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    # 0640: logs may quote data, so other users cannot read them.
    log = os.fdopen(os.open(path, flags, 0o640), "ab", buffering=0)
    if gid is not None:
        descriptor = log.fileno()
        os.fchown(descriptor, -1, gid)
        os.fchmod(descriptor, 0o660)  # nosec B103
    return log


def read_size(path: Path) -> int:
    """Return how many bytes the log has; 0 if it does not exist."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def rotate(path: Path) -> None:
    """Rename a log above 10 MiB to `<name>.1`, replacing the previous one."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            archive(path)


def trim(path: Path) -> bool:
    """Move the end of a log above 10 MiB to `<name>.1` while its process writes to it.

    Returns whether it was. Its process has the file open, so renaming would not stop the growth.
    Of a larger log the beginning is lost, and lines written between the copy and the truncation
    are too. A log that cannot be opened, such as a link, stays as it is.
    """
    try:
        log = os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b")
    except OSError:
        return False
    with log:
        if log.seek(0, os.SEEK_END) <= LOG_BYTES:
            return False
        log.seek(-LOG_BYTES, os.SEEK_END)
        with suppress(OSError):  # on a full disk the truncation is needed all the more
            content = log.read(LOG_BYTES)
            # From a whole line on.
            content = content.partition(b"\n")[2] or content
            _replace(path.with_name(path.name + ".1"), content)
        log.truncate(0)
    return True


def _replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # it may be a link, or still be linked as the log of a run
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def archive(path: Path) -> None:
    """Rename a log to `<name>.1`, which only we may open. Raises FileNotFoundError."""
    # The next process of the same user must neither read nor change it.
    path.chmod(0o600)
    path.rename(path.with_name(path.name + ".1"))
