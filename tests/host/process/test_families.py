"""Which processes are ended with a family, in tables of processes that do not exist."""

import os
import signal
import time
from dataclasses import replace

import pytest

from host.process import process_table, termination
from host.process.process_id import ProcessId
from host.process.process_table import ProcessEntry
from host.process.users import User

# No user of the host has it, and no process of the table has a pid that exists.
UID = 61_977
LEADER = ProcessEntry(pid=5_000_050, parent=1, group=5_000_050, session=5_000_050, start_time=100.0)
CHILD = replace(LEADER, pid=5_000_051, parent=LEADER.pid)
STRANGER = ProcessEntry(5_000_060, 1, 5_000_060, 5_000_060, 110.0)


def move_out(entry, **fields):
    """Return the process with these fields, in a session of its own."""
    entry = replace(entry, **fields)
    return replace(entry, group=entry.pid, session=entry.pid)


class Table:
    """The host's processes; `sent` are the signals that they got, in order."""

    def __init__(self):
        self.entries, self.marks, self.sent = [], {}, []

    def list(self, uid=UID):
        return [one for one in self.entries if self.has(one.pid, one.start_time)] * (uid == UID)

    def has(self, pid, start_time):
        is_killed = (pid, signal.SIGKILL) in self.sent
        return not is_killed and (pid, start_time) in {
            (one.pid, one.start_time) for one in self.entries
        }

    @property
    def killed(self):
        return sorted(pid - 5_000_000 for pid, number in self.sent if number == signal.SIGKILL)


@pytest.fixture
def table(monkeypatch):
    table = Table()

    def read_variable(pid, name):
        return table.marks.get(pid) if name == termination.MARK_VARIABLE else None

    monkeypatch.setattr(process_table, "list_processes", table.list)
    monkeypatch.setattr(process_table, "list_processes_of", table.list)
    monkeypatch.setattr(process_table, "read_variable", read_variable)
    monkeypatch.setattr(process_table, "is_alive", table.has)
    monkeypatch.setattr(
        termination, "_send_signal", lambda entry, number: table.sent.append((entry.pid, number))
    )
    return table


# --- the families of a user's processes


def test_a_users_process_ends_with_its_group_its_descendants_and_its_mark(table):
    table.marks = {5_000_050: "ours", 5_000_053: "ours", 5_000_054: "a unit"}
    table.entries = [
        LEADER,
        CHILD,
        move_out(CHILD, pid=5_000_052, parent=CHILD.pid),
        move_out(LEADER, pid=5_000_053),
        # It began in the family, as a daemon with a mark of its own.
        move_out(CHILD, pid=5_000_054),
        STRANGER,
    ]
    assert termination.kill_families(UID, [LEADER])
    assert table.killed == [50, 51, 52, 53]


def test_a_users_process_without_a_mark_ends_alone_with_its_group(table):
    table.marks = {5_000_060: ""}
    table.entries = [LEADER, CHILD, STRANGER, move_out(STRANGER, pid=5_000_061)]
    assert termination.kill_families(UID, [LEADER])
    assert table.killed == [50, 51]


def test_the_group_of_a_process_that_has_ended_ends_with_it(table):
    table.entries = [CHILD, STRANGER]
    assert termination.kill_families(UID, [LEADER])
    assert table.killed == [51]


def test_of_a_recycled_pid_only_those_with_the_mark_end(table):
    table.entries = [replace(LEADER, start_time=200.0), CHILD, move_out(STRANGER, pid=5_000_061)]
    assert termination.kill_families(UID, [LEADER])
    assert table.killed == []
    marks = iter(["ours"])
    table.marks = {5_000_061: "ours"}
    table.marks = Marks(table.marks, LEADER.pid, marks)
    assert termination.kill_families(UID, [LEADER])
    assert table.killed == [61]


class Marks(dict):
    """The marks of processes; one pid has the mark of `first` once, and none later."""

    def __init__(self, marks, pid, first):
        super().__init__(marks)
        self.pid, self.first = pid, first

    def get(self, pid):
        return next(self.first, None) if pid == self.pid else super().get(pid)


# --- one family


def find(table, process_id):
    table.entries = [LEADER, CHILD, STRANGER]
    return termination.find_family(process_id)


def test_the_family_of_a_recycled_pid_is_not_found(table):
    assert find(table, ProcessId(LEADER.pid, 100.0)) == {LEADER.pid, CHILD.pid}
    assert find(table, ProcessId(LEADER.pid, 99.0)) == set()
    assert find(table, ProcessId(LEADER.pid + 1000, 100.0)) == set()


def test_what_a_leader_forked_while_it_ended_is_killed(table, monkeypatch):
    table.entries = [LEADER, STRANGER]
    # It forks, its child leaves the family, and then it ends.
    left = move_out(CHILD, parent=1)
    looks = iter([([LEADER, CHILD], False), ([LEADER, left], False), ([left], True)])

    def wait_for_end(pid, seconds):
        assert (pid, seconds) == (LEADER.pid, termination.POLL_SECONDS)
        entries, has_ended = next(looks)
        table.entries = [*entries, STRANGER]
        return has_ended

    monkeypatch.setattr(termination, "wait_for_end", wait_for_end)
    assert termination.terminate_family(ProcessId(LEADER.pid, 100.0), grace=60)
    assert table.sent == [(LEADER.pid, signal.SIGTERM), (CHILD.pid, signal.SIGKILL)]


def test_what_joined_the_group_of_a_leader_as_it_ended_is_killed(table, monkeypatch):
    table.entries = [LEADER, STRANGER]

    def wait_for_end(pid, seconds):
        table.entries = [CHILD, STRANGER]
        return True

    monkeypatch.setattr(termination, "wait_for_end", wait_for_end)
    assert termination.terminate_family(ProcessId(LEADER.pid, 100.0), grace=60)
    assert table.killed == [51]


@pytest.mark.parametrize("leader_only", [False, True])
def test_each_of_a_family_or_the_leader_only_is_asked_to_end_before_it_is_killed(
    table, leader_only
):
    table.entries = [CHILD, LEADER, STRANGER]
    options = {"leader_only": True} if leader_only else {}
    termination.terminate_family(ProcessId(LEADER.pid, 100.0), grace=0, **options)
    asked = {pid for pid, number in table.sent if number == signal.SIGTERM}
    assert asked == ({LEADER.pid} if leader_only else {LEADER.pid, CHILD.pid})
    assert table.killed == [50, 51]
    numbers = [number for _, number in table.sent]
    assert numbers == sorted(numbers, reverse=True)


def test_what_joined_the_group_of_a_leader_that_has_ended_is_killed(table):
    table.entries = [LEADER]
    process_id = ProcessId(LEADER.pid, 100.0)
    known = {LEADER}
    table.entries = [CHILD, STRANGER]
    assert termination.kill_family(process_id, known, is_pid_ours=True)
    assert table.killed == [51]
    table.sent.clear()
    assert termination.kill_family(process_id, {LEADER}, is_pid_ours=False)
    assert table.killed == []


def test_a_known_member_that_left_the_family_is_killed_and_its_group_is_not(table):
    left = move_out(CHILD, parent=1)
    table.entries = [left, replace(left, pid=5_000_052)]
    assert termination.kill_family(ProcessId(LEADER.pid, 100.0), {CHILD}, is_pid_ours=True)
    assert table.killed == [51]


# --- those of a job, of a user, and without a parent


def test_those_of_one_job_are_killed(table):
    table.entries = [LEADER, CHILD, STRANGER]
    table.marks = {LEADER.pid: "one", STRANGER.pid: "two"}
    assert termination.kill_marked("one")
    assert table.killed == [50]


@pytest.mark.parametrize("is_marked", [False, True])
def test_each_process_of_a_user_is_killed(table, is_marked):
    table.entries = [LEADER, STRANGER]
    table.marks = {LEADER.pid: "a unit"} if is_marked else {}
    assert User(UID, UID).kill_all()
    assert table.killed == [50, 60]


def test_orphans_that_are_no_units_are_killed(table):
    table.entries = [LEADER, CHILD, replace(STRANGER, start_time=0.0)]
    table.marks = {STRANGER.pid: "a unit"}
    assert termination.kill_orphans(UID, only_unmarked=True)
    assert table.killed == [50]
    assert termination.kill_orphans(UID)
    assert table.killed == [50, 60]


@pytest.mark.parametrize("identity", ["getuid", "geteuid"])
@pytest.mark.parametrize("uid", [0, UID])
@pytest.mark.parametrize(
    "kill",
    [
        termination.kill_user,
        termination.kill_orphans,
        lambda uid: termination.kill_families(uid, []),
    ],
)
def test_neither_root_nor_we_ourselves_are_a_reserved_user(table, monkeypatch, kill, uid, identity):
    other = {"getuid": "geteuid", "geteuid": "getuid"}[identity]
    monkeypatch.setattr(os, identity, lambda: UID)
    monkeypatch.setattr(os, other, lambda: UID + 1)
    with pytest.raises(ValueError, match=f"uid {uid} is not a reserved one"):
        kill(uid)


# --- one process


@pytest.fixture
def closed(monkeypatch):
    """The descriptors that were closed, by any thread."""
    numbers, close = [], os.close

    def record(number):
        numbers.append(number)
        close(number)

    monkeypatch.setattr(os, "close", record)
    return numbers


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_process_that_has_ended_or_is_another_users_is_passed_over(monkeypatch, closed, error):
    opened = os.open("/", os.O_RDONLY)
    monkeypatch.setattr(os, "pidfd_open", lambda pid: opened)
    monkeypatch.setattr(process_table, "is_alive", lambda pid, start_time: True)
    sent = []

    def refuse(descriptor, number):
        sent.append((descriptor, number))
        raise error

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    termination._send_signal(LEADER, signal.SIGTERM)
    assert sent == [(opened, signal.SIGTERM)]
    assert opened in closed
    monkeypatch.setattr(os, "pidfd_open", lambda pid: (_ for _ in ()).throw(error))
    termination._send_signal(LEADER, signal.SIGTERM)


def test_a_process_that_took_over_the_pid_gets_no_signal(monkeypatch):
    monkeypatch.setattr(signal, "pidfd_send_signal", pytest.fail)
    found = process_table.find_process(os.getpid())
    termination._send_signal(replace(found, start_time=found.start_time - 1), signal.SIGTERM)


def test_waiting_for_a_process_takes_as_long_as_asked_and_closes_what_it_opened(
    monkeypatch, closed
):
    opened, open_process = {}, os.pidfd_open

    def open_and_record(pid):
        opened[pid] = open_process(pid)
        return opened[pid]

    monkeypatch.setattr(os, "pidfd_open", open_and_record)
    begun = time.monotonic()
    assert not termination.wait_for_end(os.getpid(), 0.2)
    assert time.monotonic() - begun >= 0.2
    assert opened[os.getpid()] in closed
    assert termination.wait_for_end(5_000_000, 60)
