"""Words about real processes that several tests use."""

import time

from host.process import process_table


def until(condition, seconds=5):
    """Wait for the condition to hold and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.01)
    return found


def lives(pid):
    return process_table.entry(pid) is not None


def noted(path):
    """Return the pid that a script wrote to the file, once it is there."""
    return int(until(lambda: path.exists() and path.read_text().strip()))
