"""Locks between processes: flock(2) on an open file, which the kernel drops if the holder dies."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from host.deadline import wait_until
from host.errors import Refused

POLL_SECONDS = 0.05


@contextmanager
def file_lock(
    path: Path,
    *,
    seconds: float | None,
    stop: Callable[[], bool] | None = None,
    refusal: Refused | None = None,
) -> Iterator[bool]:
    """Hold the lock of the file `path` while the block runs, and yield whether it was taken.

    The file and its folders are created; `remove_lock_file` removes the file.
    Waits up to `seconds`, or until `stop` returns true; None waits without a limit and without
    `stop`. A lock that was not free by then raises `refusal`, or yields False if there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, is_taken = _open(path), False
    try:
        while is_taken := _acquire(file.fileno(), seconds, stop):
            if _is_file_of(path, file):
                break
            file.close()
            file = _open(path)
        if not is_taken and refusal is not None:
            raise refusal
        yield is_taken
    finally:
        file.close()


def remove_lock_file(path: Path) -> bool:
    """Remove the lock's file unless the lock is held; a waiter then locks a new file."""
    with file_lock(path, seconds=0) as is_taken:
        if is_taken:
            path.unlink(missing_ok=True)
        return is_taken


def _is_file_of(path: Path, file: IO[bytes]) -> bool:
    """Return whether the open file is still the one at `path`: it may have been removed since."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _open(path: Path) -> IO[bytes]:
    # 0600, and no link: a user who can open the file could hold its lock indefinitely.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)


def _acquire(descriptor: int, seconds: float | None, stop: Callable[[], bool] | None) -> bool:
    if seconds is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    # flock(2) has no timeout, so a bounded wait polls.
    return wait_until(
        lambda: _try_lock(descriptor), seconds=seconds, interval=POLL_SECONDS, stop=stop
    )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
