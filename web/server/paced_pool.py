"""Threads that answer requests, of which one computes at a time.

Each thread that computes makes the worker's loop, and the thread of the probes, wait longer for the
interpreter's lock. A request that has run for WAITING_SECONDS is taken to wait for git or for the
database: then it does not keep the next one from a thread.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

# In each worker. With two, a probe beside fifty readers takes twice as long (docs/decisions/0020).
COMPUTING_AT_ONCE = 1
WAITING_SECONDS = 0.2
QUEUED_CALLS, QUEUED_BYTES = 256, 64 * 1024 * 1024


def count_startable(ages: Sequence[float], queued: int, threads: int) -> int:
    """Return how many of the `queued` requests may start; `ages` are the seconds of those that run.

    At most `threads` run, and at most COMPUTING_AT_ONCE of them for less than WAITING_SECONDS.
    """
    computing = sum(age < WAITING_SECONDS for age in ages)
    return max(0, min(queued, threads - len(ages), COMPUTING_AT_ONCE - computing))


class PacedPool:
    """Starts calls in threads, in the order in which they came. Only the loop's thread uses it."""

    def __init__(self, executor: ThreadPoolExecutor, threads: int) -> None:
        self.threads = threads
        self._executor = executor
        self._queued_bytes = 0
        self._queue: deque[tuple[Callable[[], Any], Callable[[Future[Any]], None], int]] = deque()
        self._started: dict[Future[Any], float] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a call that is submitted now does not start at once."""
        return self._count_startable(len(self._queue) + 1) <= len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that nothing more should be submitted."""
        return len(self._queue) >= QUEUED_CALLS or self._queued_bytes > QUEUED_BYTES

    @property
    def has_queue(self) -> bool:
        """Whether calls wait for a thread; `start_due` is then to be called again soon."""
        return bool(self._queue)

    def submit(
        self, call: Callable[[], Any], done: Callable[[Future[Any]], None], size: int
    ) -> None:
        """Have a thread make the call, then call `done`; `size` is the memory it takes until then.

        `done` is called in the thread.
        """
        self._queue.append((call, done, size))
        self._queued_bytes += size
        self.start_due()

    def start_due(self) -> None:
        """Start what may start now."""
        for _ in range(self._count_startable(len(self._queue))):
            call, done, size = self._queue.popleft()
            self._queued_bytes -= size
            future = self._executor.submit(call)
            self._started[future] = time.monotonic()
            future.add_done_callback(done)

    def _count_startable(self, queued: int) -> int:
        now = time.monotonic()
        self._started = {one: at for one, at in self._started.items() if not one.done()}
        ages = [now - at for at in self._started.values()]
        return count_startable(ages, queued, self.threads)
