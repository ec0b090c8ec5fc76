"""Locks between processes: held on an open file, so that they die with their holder."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_SECONDS = 0.05


@contextmanager
def held(path: Path, *, seconds: float, stop: Callable[[], bool] | None = None) -> Iterator[bool]:
    """Hold the lock of that file, which is made; False if it was not free within `seconds`.

    `stop` is asked while waiting and ends it too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with path.open("ab") as lock:
        while not (taken := _take(lock.fileno())):
            if time.monotonic() > deadline or (stop is not None and stop()):
                break
            time.sleep(LOOK_SECONDS)
        yield taken


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
