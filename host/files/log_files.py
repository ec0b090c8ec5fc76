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
        os.fchown(log.fileno(), -1, gid)
        os.fchmod(log.fileno(), 0o660)
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


def archive(path: Path) -> None:
    """Rename a log to `<name>.1`, which only we may open. Raises FileNotFoundError."""
    # The next process of the same user must neither read nor change it.
    path.chmod(0o600)
    path.rename(path.with_name(path.name + ".1"))
