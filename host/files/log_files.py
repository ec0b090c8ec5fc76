"""Logs of what we start: written through us and kept small."""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

LOG_BYTES = 10 * 1024 * 1024


def open_append(path: Path) -> IO[bytes]:
    """Open a log ourselves and hand on only the open file: its writer can neither cut nor move it.

    Raises OSError, also where `path` is a symlink.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o640), "ab", buffering=0)


def rotate(path: Path) -> None:
    """Rename a log above 10 MiB to `<name>.1`, replacing the one before it."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.rename(path.with_name(path.name + ".1"))
