"""Helpers for tests of real processes."""

import os
import time
from pathlib import Path

from host.deadline import wait_until
from host.process import process_table, runner
from host.process.users import User

ROOT = Path("/")
ENV = {"PATH": os.environ.get("PATH", os.defpath)}
# A uid of no user of the host and of no other process of the tests, so that all its processes are
# the test's: some tests kill every process of it.
RESERVED_UID = 3_000_000 + 2 * os.getpid()
RESERVED_USER = User(RESERVED_UID, RESERVED_UID)


def wait_for(condition, seconds=20):
    """Wait until the condition is true, and return its result; fail after `seconds`."""
    found = wait_until(condition, seconds=seconds, interval=0.01)
    assert found, f"still false after {seconds} s"
    return found


def is_running(pid):
    return process_table.find_process(pid) is not None


def wait_for_another_start_time():
    """Wait until a process that starts now has another start time than those that have started.

    It has a resolution of 10 ms on the clock since boot, see proc_pid_stat(5).
    """
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + 0.02
    wait_for(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > later)


def wait_for_pid(path):
    """Wait until a script has written a pid to the file, and return it."""
    return int(wait_for(lambda: path.exists() and path.read_text().strip()))


def run(script, log, **options):
    """Run a shell script with the runner, and return its Outcome."""
    options = {"cwd": ROOT, "env": ENV, "timeout": 60, **options}
    return runner.run(["sh", "-c", script], log=log, **options)
