"""Finding all processes of a family, a job or a user, and ending them.

The family of a process: its group, its session, its descendants, and every process with its mark.
Signals go through a pidfd, so that they never reach a process that took over a recycled pid.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from host.deadline import Deadline
from host.process import process_table
from host.process.process_id import ProcessId
from host.process.process_table import ProcessEntry

MARK_VARIABLE = "OROBOROS_JOB"
POLL_SECONDS = 0.1
INIT_PID = 1
# A process in uninterruptible sleep (D) does not end before its I/O does.
KILL_SECONDS = 5.0
KILL_INTERVAL_SECONDS = 0.005


def find_family(process_id: ProcessId) -> set[int]:
    """Return the pids of the living processes of its family."""
    table = process_table.list_processes()
    is_pid_ours = _is_listed(process_id, table)
    return {entry.pid for entry in select_family(process_id, table, is_pid_ours=is_pid_ours)}


def terminate_family(process_id: ProcessId, *, grace: float, leader_only: bool = False) -> bool:
    """Send SIGTERM to the process and its family, after `grace` seconds SIGKILL.

    With `leader_only` only the process itself gets the SIGTERM, and ends its children in its own
    order (systemd's KillMode=mixed). Returns whether all have ended.
    """
    table = process_table.list_processes()
    is_pid_ours = _is_listed(process_id, table)
    known = set(select_family(process_id, table, is_pid_ours=is_pid_ours))
    for entry in known:
        if not leader_only or entry.pid == process_id.pid:
            _send_signal(entry, signal.SIGTERM)
    deadline = Deadline(grace)
    # The family is read again while the leader lives: it may fork during its shutdown.
    while process_id.is_alive() and not deadline.has_passed:
        if not wait_for_end(process_id.pid, min(POLL_SECONDS, deadline.seconds_left)):
            table = process_table.list_processes()
            known |= set(select_family(process_id, table, is_pid_ours=is_pid_ours))
    return kill_family(process_id, known, is_pid_ours=is_pid_ours)


def kill_family(process_id: ProcessId, known: set[ProcessEntry], *, is_pid_ours: bool) -> bool:
    """SIGKILL the family and the `known` members until all have ended; returns whether they have.

    `known` members stay targets even if they left the session and cleared their mark meanwhile.
    """

    def find() -> list[ProcessEntry]:
        table = process_table.list_processes()
        known.update(select_family(process_id, table, is_pid_ours=is_pid_ours))
        return [entry for entry in known if entry.is_alive()]

    return _kill_all(find)


def kill_marked(mark: str) -> bool:
    """Kill every process with that mark that we may see; returns whether all have ended."""
    return _kill_all(
        lambda: [
            entry
            for entry in process_table.list_processes()
            if process_table.read_variable(entry.pid, MARK_VARIABLE) == mark
        ]
    )


def kill_user(uid: int) -> bool:
    """Kill every process of a reserved uid (as root only); returns whether all have ended."""
    # kill_user of root or of ourselves would end the whole host or this process.
    if uid in (0, os.getuid(), os.geteuid()):
        raise ValueError(f"uid {uid} is not a reserved one")
    return _kill_all(lambda: process_table.list_processes_of(uid))


def kill_families(uid: int, members: Collection[ProcessEntry]) -> bool:
    """Kill these processes of a reserved uid with their families (as root only).

    Only that user's, whatever their marks: a program sets its own environment. Returns whether all
    have ended.
    """
    if uid in (0, os.getuid(), os.geteuid()):
        raise ValueError(f"uid {uid} is not a reserved one")
    known = set(members)
    marks = {one: process_table.read_variable(one.pid, MARK_VARIABLE) or "" for one in members}
    ids = [ProcessId(one.pid, one.start_time, mark) for one, mark in marks.items()]

    def find() -> list[ProcessEntry]:
        table = process_table.list_processes_of(uid)
        started = {entry.pid: entry.start_time for entry in table}
        for one in ids:
            is_ours = started.get(one.pid, one.start_time) == one.start_time
            known.update(select_family(one, table, is_pid_ours=is_ours))
        return [entry for entry in known if entry.is_alive()]

    return _kill_all(find)


def kill_orphans(uid: int, *, since: float = 0.0, only_unmarked: bool = False) -> bool:
    """Kill the processes of a reserved uid that have left every parent (as root only).

    A daemon that forks twice belongs to init. Those that started before `since` (seconds since
    boot) are left, and with `only_unmarked` those with a mark, which are units. Returns whether
    all have ended.
    """
    if uid in (0, os.getuid(), os.geteuid()):
        raise ValueError(f"uid {uid} is not a reserved one")
    return _kill_all(
        lambda: [
            entry
            for entry in process_table.list_processes_of(uid)
            if entry.parent == INIT_PID
            and entry.start_time >= since
            and not (only_unmarked and process_table.read_variable(entry.pid, MARK_VARIABLE))
        ]
    )


def wait_for_end(pid: int, seconds: float) -> bool:
    """Wait up to `seconds` for a process to end and return whether it did; it is not reaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # not a child of ours, and ended
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def select_family(
    process_id: ProcessId, table: list[ProcessEntry], *, is_pid_ours: bool
) -> list[ProcessEntry]:
    """Return the entries that are of the family.

    `is_pid_ours`: the pid was not recycled, so its group and session are the family's. A daemon
    that a member spawned has a mark of its own and is not a member: it may outlive its parent.
    """
    pids = _find_descendants(process_id, table) if is_pid_ours else set()
    return [
        entry
        for entry in table
        if entry.pid != os.getpid()  # our own environment may have the mark of our job
        and (
            entry.pid in pids
            or (is_pid_ours and process_id.pid in (entry.group, entry.session))
            or (process_id.mark and _has_mark(entry, process_id))
        )
    ]


def _kill_all(find: Callable[[], list[ProcessEntry]]) -> bool:
    """SIGKILL what `find` returns until it returns nothing, for at most KILL_SECONDS.

    The search is repeated, because a process may fork between the search and the signal.
    """
    deadline = Deadline(KILL_SECONDS)
    while found := find():
        if deadline.has_passed:
            return False
        for entry in found:
            _send_signal(entry, signal.SIGKILL)
        time.sleep(KILL_INTERVAL_SECONDS)
    return True


def _send_signal(entry: ProcessEntry, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(entry.pid)
        try:
            # Checked while the pidfd is open: from now on the pid cannot change its process.
            if entry.is_alive():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _has_mark(entry: ProcessEntry, process_id: ProcessId) -> bool:
    """Return whether it has the family's mark; an older process is never a member."""
    return (
        entry.start_time >= process_id.start_time
        and process_table.read_variable(entry.pid, MARK_VARIABLE) == process_id.mark
    )


def _is_other_daemon(entry: ProcessEntry, process_id: ProcessId) -> bool:
    is_session_leader = entry.session == entry.pid
    mark = process_table.read_variable(entry.pid, MARK_VARIABLE) if is_session_leader else ""
    return bool(mark) and mark != process_id.mark


def _find_descendants(process_id: ProcessId, table: list[ProcessEntry]) -> set[int]:
    """Return the pids of the process and its descendants but other daemons.

    Each entry is looked at once: a chain may be as long as the user may have processes.
    """
    children: dict[int, list[ProcessEntry]] = {}
    for entry in table:
        children.setdefault(entry.parent, []).append(entry)
    pids, waiting = {process_id.pid}, [process_id.pid]
    while waiting:
        found = children.get(waiting.pop(), ())
        inner = [one.pid for one in found if not _is_other_daemon(one, process_id)]
        waiting += [pid for pid in inner if pid not in pids]
        pids.update(inner)
    return pids


def _is_listed(process_id: ProcessId, table: list[ProcessEntry]) -> bool:
    identity = (process_id.pid, process_id.start_time)
    return any((entry.pid, entry.start_time) == identity for entry in table)
