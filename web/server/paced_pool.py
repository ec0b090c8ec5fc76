"""Threads that answer requests, of which one computes at a time.

Each thread that computes makes the worker's loop, and the thread of the probes, wait longer for the
interpreter's lock. A request that has run for WAITING_SECONDS is taken to wait for git or for the
database: then it does not keep the next one from a thread. Deliveries of a forge, for whose answers
no person waits, start after the other calls.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

# In each worker. With two, a probe beside fifty readers takes twice as long (docs/decisions/0020).
COMPUTING_AT_ONCE = 1
WAITING_SECONDS = 0.2
QUEUED_CALLS, QUEUED_BYTES = 256, 64 * 1024 * 1024
# Other calls go before a deferred one for so long. A forge waits ten seconds for its answer.
DEFERRED_SECONDS = 1.0


class _Call(NamedTuple):
    function: Callable[[], Any]
    done: Callable[[Future[Any]], None]
    size: int
    submitted_at: float


def count_startable(ages: Sequence[float], queued: int, threads: int) -> int:
    """Return how many of the `queued` requests may start; `ages` are the seconds of those that run.

    At most `threads` run, and at most COMPUTING_AT_ONCE of them for less than WAITING_SECONDS.
    """
    computing = sum(age < WAITING_SECONDS for age in ages)
    return max(0, min(queued, threads - len(ages), COMPUTING_AT_ONCE - computing))


def is_deferred_next(queued: int, deferred_age: float | None) -> bool:
    """Return whether the first deferred call is next; None if there is none.

    It is if nothing else is queued, or once it has waited DEFERRED_SECONDS.
    """
    return deferred_age is not None and (not queued or deferred_age >= DEFERRED_SECONDS)


class PacedPool:
    """Starts calls in threads, in the order in which they came, and deferred ones after the others.

    Only the loop's thread uses it.
    """

    def __init__(self, executor: ThreadPoolExecutor, threads: int) -> None:
        self.threads = threads
        self._executor = executor
        self._queued_bytes = 0
        self._queue: deque[_Call] = deque()
        self._deferred: deque[_Call] = deque()
        self._started: dict[Future[Any], float] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a call that is submitted now does not start at once."""
        return self._count_startable(self._queued_calls + 1) <= self._queued_calls

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that nothing more should be submitted."""
        return self._queued_calls >= QUEUED_CALLS or self._queued_bytes > QUEUED_BYTES

    @property
    def has_queue(self) -> bool:
        """Whether calls wait for a thread; `start_due` is then to be called again soon."""
        return self._queued_calls > 0

    @property
    def _queued_calls(self) -> int:
        return len(self._queue) + len(self._deferred)

    def submit(
        self,
        function: Callable[[], Any],
        done: Callable[[Future[Any]], None],
        size: int,
        *,
        is_deferred: bool = False,
    ) -> None:
        """Have a thread call `function`, then `done`; `size` is the memory it takes until then.

        `done` is called in the thread. `is_deferred`: calls that are not go first.
        """
        queue = self._deferred if is_deferred else self._queue
        queue.append(_Call(function, done, size, time.monotonic()))
        self._queued_bytes += size
        self.start_due()

    def start_due(self) -> None:
        """Start what may start now."""
        for _ in range(self._count_startable(self._queued_calls)):
            call = self._take_next()
            self._queued_bytes -= call.size
            future = self._executor.submit(call.function)
            self._started[future] = time.monotonic()
            future.add_done_callback(call.done)

    def _take_next(self) -> _Call:
        age = time.monotonic() - self._deferred[0].submitted_at if self._deferred else None
        return (
            self._deferred if is_deferred_next(len(self._queue), age) else self._queue
        ).popleft()

    def _count_startable(self, queued: int) -> int:
        now = time.monotonic()
        self._started = {one: at for one, at in self._started.items() if not one.done()}
        ages = [now - at for at in self._started.values()]
        return count_startable(ages, queued, self.threads)
