"""Progress on stderr, line by line: stdout is for the result, which programs may read."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REPORT_SECONDS = 5.0


def print_line(line: str) -> None:
    """Print a line to stderr at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def step(title: str) -> Iterator[Callable[..., bool]]:
    """Print the step's title, and how long it took when it ends without an error.

    It yields a function to call while waiting: every five seconds that prints that the step goes
    on, and what it waits for if it is told so. It returns False, so that it serves as the `stop`
    of a command or of `wait_until`.
    """
    started_at = reported_at = time.monotonic()
    print_line(f"{title} …")

    def report_waiting(reason: str = "") -> bool:
        nonlocal reported_at
        if time.monotonic() - reported_at >= REPORT_SECONDS:
            reported_at = time.monotonic()
            seconds = f"{reported_at - started_at:.0f} s"
            print_line(f"  … {seconds}" + (f", waiting for {reason}" if reason else ""))
        return False

    # Not in a finally: a step that failed must not be reported as done.
    yield report_waiting
    print_line(f"  done in {time.monotonic() - started_at:.1f} s")
