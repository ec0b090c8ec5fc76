"""Locks between processes: held on an open file, so that they die with their holder."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOOK_SECONDS = 0.05


@contextmanager
def held(path: Path, *, seconds: float, stop: Callable[[], bool] | None = None) -> Iterator[bool]:
    """Hold the lock of that file, which is made; False if it was not free within `seconds`.

    `stop` is asked while waiting and ends it too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with opened(path) as lock:
        while not (taken := _take(lock.fileno())):
            if time.monotonic() > deadline or (stop is not None and stop()):
                break
            time.sleep(LOOK_SECONDS)
        yield taken


def opened(path: Path) -> IO[bytes]:
    """Open the lock's file for us alone: whoever can read it could hold the lock for ever."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
