"""Processes of the tests: forked workers, and what a step has started."""

import os
import time
from contextlib import suppress
from pathlib import Path

from django.db import connections

from host.process import process_table

LOOK_SECONDS = 180
# What the `sleep` processes of a test sleep begins with its number, and ends with this one: another
# process of the tests starts no such ones.
OWN = f"{os.getpid():07}"


def forked(work):
    """Call `work` in a forked process with connections of its own. Returns its pid."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def sleepers(seconds):
    """Return the pids of the `sleep` processes with this number of seconds."""
    found = []
    for entry in process_table.list_processes():
        with suppress(OSError):
            if Path(f"/proc/{entry.pid}/cmdline").read_text() == f"sleep\0{seconds}\0":
                found.append(entry.pid)
    return found


def wait_until(said, seconds=LOOK_SECONDS):
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
