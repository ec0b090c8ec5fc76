"""Waiting with a deadline: the one place that compares `time.monotonic()` with a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
PAUSES = 20


class Deadline:
    """A moment `seconds` from now on the monotonic clock, which no change of the date moves."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline; 0.0 once it has passed."""
        return max(0.0, self._at - time.monotonic())

    @property
    def has_passed(self) -> bool:
        return self.seconds_left == 0.0


class Probing:
    """The pauses between probes of something that starts, which may take 50 ms or a minute."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def pause(self) -> None:
        """Sleep as long as `choose_pause` says."""
        time.sleep(choose_pause(time.monotonic() - self._began))


def choose_pause(elapsed: float) -> float:
    """Return the pause before the next probe, in seconds, after `elapsed` seconds of probing.

    It is a twentieth of the time so far: a quick start is noticed at once, and the probes of a slow
    one take little of the processor that it needs.
    """
    return min(max(elapsed / PAUSES, SHORTEST_PAUSE), LONGEST_PAUSE)


def wait_until(
    condition: Callable[[], T],
    *,
    seconds: float,
    interval: float = 0.1,
    stop: Callable[[], bool] | None = None,
) -> T:
    """Call `condition` until its result is true, and return its last result.

    It is called at least once, then every `interval` seconds until `seconds` have passed or
    `stop` returns true. The last result is then the false one: the caller decides what that means.
    """
    deadline = Deadline(seconds)
    while not (result := condition()):
        if deadline.has_passed or (stop is not None and stop()):
            break
        time.sleep(min(interval, deadline.seconds_left))
    return result
