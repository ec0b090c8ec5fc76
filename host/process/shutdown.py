"""Tells all processes of a worker that it is ending.

A host that shuts down, and `systemctl stop 'ouroboros-*'`, end the worker, its jobs and the slots'
backends at the same time. What fails then says nothing about a branch, so code that is about to
report a failure asks here first.
"""

import mmap

from host.deadline import wait_until

# A unit may be stopped this long before the worker is told that it is to stop as well.
NOTICE_SECONDS = 2.0
POLL_SECONDS = 0.05
ENDING = 1  # the index of the second byte; the first one tells whether a supervisor will set it

# Anonymous and shared: processes that are forked after the import see what any of them writes.
_state = mmap.mmap(-1, 2)


def watch() -> None:
    """Say that this process and its forks belong to a worker, which calls `begin` when it ends."""
    _state[0] = 1


def begin() -> None:
    """Say that the worker is ending. May be called by a signal handler."""
    _state[ENDING] = 1


def has_begun() -> bool:
    """Return whether the worker that this process belongs to is ending."""
    return _state[ENDING] == 1


def wait_for_notice() -> bool:
    """Return whether the worker is ending, after a moment in which it may get to know that.

    A process that belongs to no worker does not wait.
    """
    if not _state[0]:
        return False
    return wait_until(has_begun, seconds=NOTICE_SECONDS, interval=POLL_SECONDS)
