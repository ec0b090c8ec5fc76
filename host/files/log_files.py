"""Logs of the processes we start: opened by us, and rotated."""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

LOG_BYTES = 10 * 1024 * 1024


def open_append(path: Path) -> IO[bytes]:
    """Open a log for appending. Its process inherits the open file: it cannot truncate or move it.

    Raises OSError, also if `path` is a symlink.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    # 0640: logs may quote data, so other users cannot read them.
    return os.fdopen(os.open(path, flags, 0o640), "ab", buffering=0)


def rotate(path: Path) -> None:
    """Rename a log above 10 MiB to `<name>.1`, replacing the previous one."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.rename(path.with_name(path.name + ".1"))
