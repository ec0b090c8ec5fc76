"""Daemons, and ending all processes of a family, a job or a user."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from host.process import process_table, runner, termination
from host.process.process_id import ProcessId
from host.process.process_table import ProcessEntry
from tests.host.processes import (
    ENV,
    RESERVED_USER,
    ROOT,
    is_running,
    run,
    wait_for,
    wait_for_pid,
)

# No process has it, so a test in which the refusal is missing kills none.
UNUSED_UID = 61_977
KILLS = [
    termination.kill_user,
    termination.kill_orphans,
    lambda uid: termination.kill_families(uid, []),
]
CHECKOUT = Path(__file__).resolve().parents[3]


def test_a_daemon_outlives_the_thread_that_started_it(spawn):
    found = []
    thread = threading.Thread(target=lambda: found.append(spawn("sleep 60")))
    thread.start()
    task = Path(f"/proc/self/task/{thread.native_id}")
    thread.join()
    wait_for(lambda: not task.exists())  # a tie would act when the kernel's thread ends
    assert found[0].is_alive()


def test_a_daemon_outlives_a_killed_parent(tmp_path, log):
    script = (
        "import os, sys; from pathlib import Path; from host.process import runner\n"
        f"i = runner.spawn(['sleep', '60'], cwd=Path('/'), env={ENV}, user=None,"
        f" log=Path('{log}'))\n"
        "print(i.pid, i.start_time, i.mark, flush=True); os.kill(os.getpid(), 9)"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE)
    pid, started, mark = said.stdout.split()
    process_id = ProcessId(int(pid), float(started), mark.decode())
    assert process_id.is_alive()
    assert runner.stop(process_id, grace=1)
    assert not is_running(process_id.pid)


def test_a_stopped_daemon_gets_sigterm_and_has_its_own_exit_code(spawn):
    process_id = spawn("trap 'exit 7' TERM; while :; do sleep 0.05; done")
    wait_for(lambda: len(termination.find_family(process_id)) > 1)
    assert runner.stop(process_id, grace=60)
    assert not process_id.is_alive()
    assert runner.get_exit_code(process_id) == 7


@pytest.mark.alone
def test_a_daemon_that_ignores_sigterm_is_killed_after_the_grace(spawn):
    process_id = spawn("trap '' TERM; while :; do sleep 0.05; done")
    wait_for(lambda: len(termination.find_family(process_id)) > 1)
    begun = time.monotonic()
    assert runner.stop(process_id, grace=0.3)
    assert 0.3 <= time.monotonic() - begun < 60
    assert termination.find_family(process_id) == set()


def test_stopping_a_daemon_ends_its_children(spawn, tmp_path):
    process_id = spawn(
        f"trap '' TERM; setsid sleep 60 & echo $! > {tmp_path}/a;"
        f" (setsid sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/b; sleep 60' &);"
        f" setsid env -i /bin/sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/c; sleep 60; sleep 60' &"
        " sleep 60; sleep 60"
    )
    pids = [wait_for_pid(tmp_path / name) for name in "abc"]
    assert runner.stop(process_id, grace=0.2)
    assert [pid for pid in pids if is_running(pid)] == []


def test_children_of_a_dead_daemon_are_found_by_its_mark(spawn, tmp_path):
    process_id = spawn(f"setsid sleep 60 & echo $! > {tmp_path}/pid; kill -9 $$")
    orphan = wait_for_pid(tmp_path / "pid")
    wait_for(lambda: not process_id.is_alive())
    assert is_running(orphan)
    # While it executes `sleep`, the kernel shows no variables of it.
    wait_for(lambda: termination.find_family(process_id) == {orphan})
    assert runner.stop(process_id, grace=0)
    assert not is_running(orphan)


def test_a_process_with_a_recycled_pid_is_not_signalled(spawn):
    foreign = spawn("sleep 60")
    meant = ProcessId(foreign.pid, foreign.start_time - 1, "another-mark")
    assert not meant.is_alive()
    assert termination.find_family(meant) == set()
    assert runner.stop(meant, grace=0)
    assert foreign.is_alive()


def test_a_daemon_that_ended_is_not_alive_and_has_an_exit_code(log):
    process_id = runner.spawn(["true"], cwd=ROOT, env=ENV, user=None, log=log)
    wait_for(lambda: not process_id.is_alive())
    assert runner.get_exit_code(process_id) == 0


def test_leader_only_sends_sigterm_to_no_child(spawn, log):
    child = "trap 'echo child >&2' TERM; echo ready; while :; do sleep 0.02; done"
    process_id = spawn(f"trap 'echo leader; exit' TERM; ({child}) & while :; do sleep 0.02; done")
    wait_for(lambda: "ready" in log.read_text())
    assert runner.stop(process_id, grace=60, leader_only=True)
    # A shell whose sleep is killed before itself says so.
    said = log.read_text().splitlines()
    assert said[:2] == ["ready", "leader"] and "child" not in said
    assert not termination.find_family(process_id)


def test_stopping_a_daemon_that_ended_succeeds(spawn):
    process_id = spawn("exit 0")
    wait_for(lambda: not process_id.is_alive())
    assert runner.stop(process_id, grace=60)


def test_kill_marked_kills_every_process_of_one_job_only(log):
    jobs = {}
    for job in ("one", "two"):
        env = {**ENV, "OROBOROS_JOB": job}
        jobs[job] = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], env=env, cwd=ROOT)
    try:
        wait_for(lambda: len(list_marked("one")) == 2 == len(list_marked("two")))
        assert termination.kill_marked("one")
        assert list_marked("one") == []
        assert len(list_marked("two")) == 2
    finally:
        termination.kill_marked("two")
        for child in jobs.values():
            child.wait()


def list_marked(job):
    return [
        one.pid
        for one in process_table.list_processes()
        if process_table.read_variable(one.pid, termination.MARK_VARIABLE) == job
    ]


@pytest.mark.parametrize("kill", KILLS)
def test_root_and_our_own_uid_are_no_reserved_ones(monkeypatch, kill):
    # Without the refusal the test must not end the host's processes.
    monkeypatch.setattr(process_table, "list_processes_of", lambda uid: [])
    for uid in {0, os.getuid()}:
        with pytest.raises(ValueError, match="reserved"):
            kill(uid)


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("identity", ["getuid", "geteuid"])
def test_the_uid_that_we_run_as_is_no_reserved_one(monkeypatch, kill, identity):
    monkeypatch.setattr(termination.os, identity, lambda: UNUSED_UID)
    with pytest.raises(ValueError, match="reserved"):
        kill(UNUSED_UID)


@pytest.mark.root
@pytest.mark.parametrize("kill", KILLS)
def test_a_reserved_uid_without_processes_has_nothing_to_kill(kill):
    assert kill(UNUSED_UID)


@pytest.mark.root
def test_kill_user_kills_processes_without_mark_and_session(spawn, tmp_path):
    spawn("(setsid env -i /bin/sleep 60 &); sleep 60", user=RESERVED_USER)
    wait_for(
        lambda: (
            sum(
                RESERVED_USER.uid in process_table.read_uids(one.pid)
                for one in process_table.list_processes()
            )
            >= 2
        )
    )
    assert termination.kill_user(RESERVED_USER.uid)
    assert not [
        one
        for one in process_table.list_processes()
        if RESERVED_USER.uid in process_table.read_uids(one.pid)
    ]


@pytest.mark.root
def test_a_commands_daemon_that_cleared_its_environment_ends_with_the_command(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="oroboros-daemon-"))
    os.chown(folder, RESERVED_USER.uid, RESERVED_USER.gid)
    try:
        script = f"setsid env -i {shutil.which('sh')} -c 'sleep 600 & echo $! > pid; wait' &"
        script += " while [ ! -s pid ]; do sleep 0.01; done"
        run(script, tmp_path / "log", cwd=folder, user=RESERVED_USER)
        assert not is_running(int((folder / "pid").read_text()))
        assert RESERVED_USER.pids() == set()
    finally:
        RESERVED_USER.kill_all()
        shutil.rmtree(folder)


def test_a_daemon_is_reaped_as_it_ends(spawn):
    process_id = spawn("exit 3")
    wait_for(lambda: not Path(f"/proc/{process_id.pid}").exists())
    assert runner.get_exit_code(process_id) == 3


def test_a_chain_of_processes_as_long_as_the_limit_is_followed_in_one_pass(monkeypatch):
    first, length = 4_000_000, 2000
    table = [ProcessEntry(pid, pid - 1, pid, pid, 1.0) for pid in range(first, first + length)]
    read = []
    monkeypatch.setattr(process_table, "read_variable", lambda pid, name: read.append(pid))
    process_id = ProcessId(first, 1.0, "a-mark")
    family = termination.select_family(process_id, table, is_pid_ours=True)
    assert len(family) == length
    assert len(read) < length


def test_a_circle_of_parents_is_followed_once():
    # Two processes that took over recycled pids while the table was read.
    table = [
        ProcessEntry(5_000_000, 5_000_001, 1, 1, 1.0),
        ProcessEntry(5_000_001, 5_000_000, 1, 1, 1.0),
    ]
    process_id = ProcessId(5_000_000, 1.0, "")
    assert termination.select_family(process_id, table, is_pid_ours=True) == table


MEMBER = ProcessEntry(pid=50, parent=1, group=50, session=50, start_time=100.0)


@pytest.fixture
def killed(monkeypatch):
    """The pids that are killed of a table with MEMBER and others; none of them exists."""
    pids, table = [], [MEMBER]
    marks = {51: "a unit"}

    def list_living(uid):
        return [entry for entry in table if entry.pid not in pids]

    monkeypatch.setattr(process_table, "list_processes_of", list_living)
    monkeypatch.setattr(process_table, "read_variable", lambda pid, name: marks.get(pid, ""))
    monkeypatch.setattr(termination, "_send_signal", lambda entry, number: pids.append(entry.pid))
    return pids, table


@pytest.mark.parametrize(("since", "expected"), [(99.9, [50]), (100.0, [50]), (100.1, [])])
def test_an_orphan_that_started_before_the_given_time_is_left(killed, since, expected):
    assert termination.kill_orphans(UNUSED_UID, since=since)
    assert killed[0] == expected


def test_only_orphans_are_killed_and_units_are_left_if_asked_for(killed):
    pids, table = killed
    table += [replace(MEMBER, pid=51), replace(MEMBER, pid=52, parent=50)]
    assert termination.kill_orphans(UNUSED_UID, only_unmarked=True)
    assert pids == [50]
    assert termination.kill_orphans(UNUSED_UID)
    assert pids == [50, 51]


DAEMON = ProcessId(10, 100.0, "ours")


@pytest.mark.parametrize(
    ("entry", "mark", "is_member"),
    [
        (ProcessEntry(10, 1, 10, 10, 100.0), "ours", True),
        # Of its group or its session, whatever its mark.
        (ProcessEntry(20, 1, 10, 20, 90.0), "", True),
        (ProcessEntry(20, 1, 20, 10, 90.0), "", True),
        (ProcessEntry(20, 1, 20, 20, 90.0), "", False),
        # With its mark, unless it is older.
        (ProcessEntry(20, 1, 20, 20, 99.9), "ours", False),
        (ProcessEntry(20, 1, 20, 20, 100.0), "ours", True),
        (ProcessEntry(20, 1, 20, 20, 100.1), "ours", True),
        (ProcessEntry(20, 1, 20, 20, 100.1), "another", False),
        # A child, unless it leads a session and has another mark.
        (ProcessEntry(20, 10, 20, 20, 90.0), "", True),
        (ProcessEntry(20, 10, 20, 20, 110.0), "another", False),
        (ProcessEntry(20, 10, 20, 19, 110.0), "another", True),
    ],
)
def test_a_family_is_the_group_the_session_the_descendants_and_the_mark(
    monkeypatch, entry, mark, is_member
):
    monkeypatch.setattr(process_table, "read_variable", lambda pid, name: mark)
    select = termination.select_family
    assert select(DAEMON, [entry], is_pid_ours=True) == ([entry] if is_member else [])
    # Of a recycled pid only the mark counts.
    is_marked = mark == "ours" and entry.start_time >= 100.0
    assert select(DAEMON, [entry], is_pid_ours=False) == ([entry] if is_marked else [])
    unmarked = ProcessId(10, 100.0)
    assert select(unmarked, [entry], is_pid_ours=False) == []


def test_a_family_has_grandchildren_but_neither_those_of_another_daemon_nor_ourselves(monkeypatch):
    marks = {30: "another"}
    monkeypatch.setattr(process_table, "read_variable", lambda pid, name: marks.get(pid, ""))
    ours = [ProcessEntry(20, 10, 20, 20, 110.0), ProcessEntry(21, 20, 21, 21, 120.0)]
    others = [
        ProcessEntry(30, 10, 30, 30, 110.0),
        ProcessEntry(31, 30, 31, 30, 120.0),
        ProcessEntry(os.getpid(), 10, 10, 10, 110.0),
    ]
    table = [*others, *reversed(ours)]
    assert termination.select_family(DAEMON, table, is_pid_ours=True) == [*reversed(ours)]


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_waiting_for_a_process_says_whether_it_ended(spawn, seconds):
    living = spawn("sleep 60")
    assert not termination.wait_for_end(living.pid, seconds)
    ended = spawn("exit 0")
    wait_for(lambda: not ended.is_alive())
    assert termination.wait_for_end(ended.pid, seconds)


def test_what_cannot_be_killed_is_given_up_after_a_time(monkeypatch):
    monkeypatch.setattr(termination, "KILL_SECONDS", 0.3)
    sent = []
    monkeypatch.setattr(process_table, "list_processes_of", lambda uid: [MEMBER])
    monkeypatch.setattr(termination, "_send_signal", lambda entry, number: sent.append(number))
    assert not termination.kill_user(UNUSED_UID)
    assert set(sent) == {signal.SIGKILL}
