"""What goes on, line by line on stderr: for who watches a terminal, and for a log alike."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TELL_SECONDS = 5.0


def say(line: str) -> None:
    """Print a line now."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def step(title: str) -> Iterator[Callable[..., bool]]:
    """Announce a step and how long it took; what it yields is asked while one waits.

    It says every five seconds that the step goes on, and for what if that is told; it answers
    False: nobody wants to stop.
    """
    begun = told = time.monotonic()
    say(f"{title} …")

    def waiting(for_what: str = "") -> bool:
        nonlocal told
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            say(f"  … {told - begun:.0f} s" + (f", waiting for {for_what}" if for_what else ""))
        return False

    yield waiting
    say(f"  done in {time.monotonic() - begun:.1f} s")
