"""Commands and daemons: real processes, looked at from outside."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from host.process import process_table, runner
from host.process.runner import Identity, User
from tests.host.processes import lives, noted, until

ROOT = Path("/")
ENV = {"PATH": os.environ.get("PATH", os.defpath)}
NOBODY = User(61_990, 61_990)
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "a.log"


@pytest.fixture
def spawned(log):
    """Start daemons that are gone after the test, whatever it found."""
    started = []

    def spawn(script, **options):
        options = {"cwd": ROOT, "env": ENV, "user": None, "log": log, **options}
        started.append(runner.spawn(["sh", "-c", script], **options))
        return started[-1]

    yield spawn
    for identity in started:
        runner.stop(identity, grace=0)


def run(script, log, **options):
    options = {"cwd": ROOT, "env": ENV, "timeout": 20, **options}
    return runner.run(["sh", "-c", script], log=log, **options)


def test_a_command_leaves_its_output_and_its_exit_code(log):
    outcome = run("echo said; echo warned >&2; exit 3", log)
    assert outcome.exit_code == 3
    assert not outcome.timed_out
    assert not outcome.stopped
    assert log.read_text() == "said\nwarned\n"


def test_output_is_appended_to_what_the_log_had(log):
    log.write_text("before\n")
    run("echo after", log)
    assert log.read_text() == "before\nafter\n"


def test_a_command_sees_its_environment_and_a_mark_and_nothing_of_ours(log, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "ours")
    runner.run(["env"], cwd=ROOT, log=log, timeout=5, env={**ENV, "GIVEN": "yes"})
    names = {line.partition("=")[0] for line in log.read_text().splitlines()}
    assert names == {"PATH", "GIVEN", "OROBOROS_JOB"}


def test_a_command_runs_where_it_is_told_to(log, tmp_path):
    run("pwd", log, cwd=tmp_path)
    assert log.read_text().strip() == str(tmp_path)


def test_no_shell_reads_the_argv(log):
    argv = ["printf", "%s", "$(id); `id` && id > /tmp/x"]
    runner.run(argv, cwd=ROOT, log=log, timeout=5, env=ENV)
    assert log.read_text() == "$(id); `id` && id > /tmp/x"


def test_a_program_that_is_not_there_is_an_error_of_the_system(log):
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        runner.run(["no-such-program"], cwd=ROOT, log=log, timeout=5, env=ENV)


def test_a_program_is_looked_for_in_the_given_path_only(log):
    with pytest.raises(FileNotFoundError):
        runner.run(["env"], cwd=ROOT, log=log, timeout=5, env={"PATH": "/nowhere"})


def test_a_command_killed_by_a_signal_says_which(log):
    assert run("kill -TERM $$", log).exit_code == -signal.SIGTERM


def test_input_is_given_and_one_who_does_not_read_it_cannot_block(log):
    assert run("cat", log, stdin=b"words").exit_code == 0
    assert log.read_text() == "words"
    assert run("true", log, stdin=b"x" * 1_000_000, timeout=5).exit_code == 0


def test_without_input_there_is_nothing_to_wait_for(log):
    assert run("cat", log, timeout=5).exit_code == 0


def test_the_time_limit_ends_a_command_that_ignores_sigterm(log, tmp_path):
    outcome = run(f"trap '' TERM; echo $$ > {tmp_path}/pid; sleep 60; sleep 60", log, timeout=0.5)
    assert outcome.exit_code is None
    assert outcome.timed_out
    assert outcome.seconds < 1.5
    assert not lives(noted(tmp_path / "pid"))


@pytest.mark.parametrize(
    "leaving",
    [
        "sleep 60 & echo $! > {pid}",
        "setsid sleep 60 & echo $! > {pid}",
        "(setsid sh -c 'echo $$ > {pid}; exec sleep 60' &)",
        "setsid env -i /bin/sh -c 'echo $$ > {pid}; sleep 60' & wait",
    ],
    ids=["in its group", "in another session", "orphaned", "without its mark"],
)
def test_a_grandchild_that_holds_the_output_ends_with_the_time_limit(log, tmp_path, leaving):
    pid = tmp_path / "pid"
    outcome = run(leaving.format(pid=pid) + "; sleep 60", log, timeout=0.5)
    assert outcome.timed_out
    assert outcome.seconds < 1.5
    assert not lives(noted(pid))


def test_a_grandchild_that_is_left_behind_neither_delays_the_end_nor_outlives_it(log, tmp_path):
    pid = tmp_path / "pid"
    outcome = run(f"setsid sleep 60 & echo $! > {pid}", log)
    assert outcome.exit_code == 0
    assert outcome.seconds < 1
    assert not lives(noted(pid))


def test_a_fork_storm_ends_with_the_time_limit(log):
    env = {**ENV, "OROBOROS_JOB": "storm"}
    outcome = run("while :; do sleep 60 & sleep 0.01; done", log, env=env, timeout=0.5)
    assert outcome.seconds < 2.5
    assert "storm" not in {
        process_table.variable(one.pid, "OROBOROS_JOB") for one in process_table.entries()
    }


def test_a_command_is_stopped_when_stop_says_so(log):
    answers = iter([False, False, True])
    outcome = run("sleep 60", log, stop=lambda: next(answers))
    assert outcome.exit_code is None
    assert outcome.stopped
    assert not outcome.timed_out
    assert outcome.seconds < 2


def test_an_exception_while_waiting_ends_the_command(log, tmp_path):
    def lost():
        noted(tmp_path / "pid")
        raise ConnectionError("the claim cannot be renewed")

    with pytest.raises(ConnectionError):
        run(f"echo $$ > {tmp_path}/pid; sleep 60", log, stop=lost)
    assert not lives(noted(tmp_path / "pid"))


def test_a_time_limit_of_another_job_leaves_this_one_alone(log, spawned):
    other = spawned("sleep 60")
    assert run("sleep 60", log, timeout=0.2).timed_out
    assert runner.alive(other)


PARENT = """
import sys, threading
from pathlib import Path
from host import process
user = process.User({uid}, {uid}) if {uid} else None
def work():
    process.run(["sh", "-c", "echo $$ > {pid}; exec sleep 60"], cwd=Path("/"), log=Path("{log}"),
                timeout=50, env={env}, user=user)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def dies_with_its_parent(tmp_path, log, uid):
    pid = tmp_path / "pid"
    if uid:
        pid.touch()
        os.chown(pid, uid, uid)
    script = PARENT.format(uid=uid, pid=pid, log=log, env=ENV)
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT)
    child = noted(pid)
    assert lives(child)
    parent.kill()
    parent.wait()
    until(lambda: not lives(child), seconds=2)


def test_a_command_dies_with_a_worker_that_is_killed(tmp_path, log):
    dies_with_its_parent(tmp_path, log, uid=0)


@pytest.mark.root
def test_a_command_of_another_user_dies_with_a_worker_that_is_killed(open_path, log):
    dies_with_its_parent(open_path, log, uid=NOBODY.uid)


@pytest.fixture
def open_path(tmp_path):
    """Return a folder that other users can reach: pytest's own are closed to them."""
    for folder in tmp_path.parents:
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    return tmp_path


def test_a_daemon_outlives_the_thread_that_started_it(spawned):
    found = []
    thread = threading.Thread(target=lambda: found.append(spawned("sleep 60")))
    thread.start()
    task = Path(f"/proc/self/task/{thread.native_id}")
    thread.join()
    until(lambda: not task.exists())  # a tie would act when the kernel's thread ends
    assert runner.alive(found[0])


def test_a_daemon_outlives_a_parent_that_is_killed(tmp_path, log):
    script = (
        "import os, sys; from pathlib import Path; from host import process\n"
        f"i = process.spawn(['sleep', '60'], cwd=Path('/'), env={ENV}, user=None,"
        f" log=Path('{log}'))\n"
        "print(i.pid, i.started, i.mark, flush=True); os.kill(os.getpid(), 9)"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE)
    pid, started, mark = said.stdout.split()
    identity = Identity(int(pid), float(started), mark.decode())
    assert runner.alive(identity)
    assert runner.stop(identity, grace=1)
    assert not lives(identity.pid)


def test_a_daemon_ends_at_sigterm_and_says_how(spawned):
    identity = spawned("trap 'exit 7' TERM; while :; do sleep 0.05; done")
    until(lambda: len(runner.family(identity)) > 1)
    assert runner.stop(identity, grace=5)
    assert not runner.alive(identity)
    assert runner.exit_code(identity) == 7


def test_a_daemon_that_ignores_sigterm_is_gone_after_the_grace(spawned):
    identity = spawned("trap '' TERM; while :; do sleep 0.05; done")
    until(lambda: len(runner.family(identity)) > 1)
    begun = time.monotonic()
    assert runner.stop(identity, grace=0.3)
    assert 0.3 <= time.monotonic() - begun < 2
    assert runner.family(identity) == set()


def test_children_of_a_daemon_are_gone_with_it(spawned, tmp_path):
    identity = spawned(
        f"trap '' TERM; setsid sleep 60 & echo $! > {tmp_path}/a;"
        f" (setsid sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/b; sleep 60' &);"
        f" setsid env -i /bin/sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/c; sleep 60; sleep 60' &"
        " sleep 60; sleep 60"
    )
    pids = [noted(tmp_path / name) for name in "abc"]
    assert runner.stop(identity, grace=0.2)
    assert [pid for pid in pids if lives(pid)] == []


def test_children_of_a_daemon_that_has_died_are_found_by_its_mark(spawned, tmp_path):
    identity = spawned(f"setsid sleep 60 & echo $! > {tmp_path}/pid; kill -9 $$")
    orphan = noted(tmp_path / "pid")
    until(lambda: not runner.alive(identity))
    assert lives(orphan)
    assert runner.family(identity) == {orphan}
    assert runner.stop(identity, grace=0)
    assert not lives(orphan)


def test_a_process_that_took_over_the_pid_is_never_signalled(spawned):
    stranger = spawned("sleep 60")
    meant = Identity(stranger.pid, stranger.started - 1, "another-mark")
    assert not runner.alive(meant)
    assert runner.family(meant) == set()
    assert runner.stop(meant, grace=0)
    assert runner.alive(stranger)


def test_a_zombie_is_not_alive(log):
    identity = runner.spawn(["true"], cwd=ROOT, env=ENV, user=None, log=log)
    until(lambda: not runner.alive(identity))
    assert runner.exit_code(identity) == 0


def test_a_leader_that_ends_its_children_itself_can_be_the_only_one_to_be_asked(spawned, log):
    child = "trap 'echo child >&2' TERM; echo ready; while :; do sleep 0.02; done"
    identity = spawned(f"({child}) & trap 'echo leader; exit' TERM; while :; do sleep 0.02; done")
    until(lambda: "ready" in log.read_text())
    assert runner.stop(identity, grace=5, leader_only=True)
    assert log.read_text() == "ready\nleader\n"
    assert not runner.family(identity)


def test_stopping_what_is_gone_is_done(spawned):
    identity = spawned("exit 0")
    until(lambda: not runner.alive(identity))
    assert runner.stop(identity, grace=5)


def test_every_process_of_a_job_is_killed_and_no_other(log):
    jobs = {}
    for job in ("one", "two"):
        env = {**ENV, "OROBOROS_JOB": job}
        jobs[job] = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], env=env, cwd=ROOT)
    try:
        until(lambda: len(marked("one")) == 2 == len(marked("two")))
        assert runner.kill_marked("one")
        assert marked("one") == []
        assert len(marked("two")) == 2
    finally:
        runner.kill_marked("two")
        for child in jobs.values():
            child.wait()


def marked(job):
    return [
        one.pid
        for one in process_table.entries()
        if process_table.variable(one.pid, runner.MARK) == job
    ]


def test_a_captured_command_answers_on_both_streams():
    script = "cat; echo warned >&2; exit 2"
    found = runner.capture(["sh", "-c", script], timeout=5, stdin=b"asked")
    assert (found.exit_code, found.stdout, found.stderr) == (2, b"asked", b"warned\n")


def test_a_captured_command_gets_nothing_of_our_environment(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "ours")
    found = runner.capture(["env"], timeout=5)
    assert b"SECRET_KEY" not in found.stdout
    assert b"LC_ALL=C.UTF-8" in found.stdout


def test_a_captured_command_that_hangs_has_no_exit_code():
    found = runner.capture(["sh", "-c", "echo begun; sleep 60"], timeout=0.3)
    assert (found.exit_code, found.stdout) == (None, b"begun\n")


def test_a_grandchild_that_holds_the_pipe_does_not_delay_an_answer():
    begun = time.monotonic()
    found = runner.capture(["sh", "-c", "echo now; sleep 60 &"], timeout=20)
    assert (found.exit_code, found.stdout) == (0, b"now\n")
    assert time.monotonic() - begun < 2


def test_a_log_is_not_opened_through_a_link(log, tmp_path):
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        run("echo x", log)
    assert not (tmp_path / "elsewhere").exists()


def test_our_own_uid_is_no_reserved_one():
    for uid in {0, os.getuid()}:
        with pytest.raises(ValueError, match="reserved"):
            runner.kill_user(uid)


@pytest.mark.root
def test_another_user_is_taken_whole_before_the_command_runs(log):
    run("id -u; id -g; id -G; grep NoNewPrivs /proc/self/status", log, user=NOBODY)
    assert log.read_text().split() == ["61990", "61990", "61990", "NoNewPrivs:", "1"]


@pytest.mark.root
def test_another_user_sees_its_environment_and_a_mark_and_nothing_more(log):
    runner.run(["env"], cwd=ROOT, log=log, timeout=5, env={**ENV, "a-b": "c=d"}, user=NOBODY)
    names = {line.partition("=")[0] for line in log.read_text().splitlines()}
    assert names == {"PATH", "a-b", "OROBOROS_JOB"}


@pytest.mark.root
def test_another_user_runs_where_it_is_told_to_and_may_go_itself(open_path, log):
    (open_path / "a b").mkdir()
    run("pwd", log, cwd=open_path / "a b", user=NOBODY)
    assert log.read_text().strip() == str(open_path / "a b")


@pytest.mark.root
@pytest.mark.parametrize("way", ["", "link"])
def test_a_folder_behind_one_that_is_closed_to_the_user_is_not_entered(open_path, log, way):
    (open_path / "closed" / "inner").mkdir(parents=True)
    (open_path / "closed").chmod(0o700)
    (open_path / "closed" / "inner").chmod(0o777)
    (open_path / "link").symlink_to("closed/inner")
    cwd = open_path / (way or "closed/inner")
    assert run("touch here", log, cwd=cwd, user=NOBODY).exit_code == 125
    assert "cannot change directory" in log.read_text()
    assert str(cwd) in log.read_text()
    assert list((open_path / "closed" / "inner").iterdir()) == []


@pytest.mark.root
def test_a_program_whose_path_looks_like_a_variable_is_started_as_it_is(open_path, log):
    program = open_path / "a=b"
    program.write_text('#!/bin/sh\necho "$0 $1"\n')
    program.chmod(0o755)
    argv = [str(program), "id"]
    assert runner.run(argv, cwd=ROOT, log=log, timeout=5, env=ENV, user=NOBODY).exit_code == 0
    assert log.read_text() == f"{program} id\n"


@pytest.mark.root
def test_the_log_stays_ours_while_another_user_writes_it(log):
    run("echo said", log, user=NOBODY)
    assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (0, 0o640)
    assert log.read_text() == "said\n"


@pytest.mark.root
def test_every_process_of_a_uid_is_killed_even_without_mark_and_session(spawned, tmp_path):
    spawned("(setsid env -i /bin/sleep 60 &); sleep 60", user=NOBODY)
    until(
        lambda: (
            sum(NOBODY.uid in process_table.uids(one.pid) for one in process_table.entries()) >= 2
        )
    )
    assert runner.kill_user(NOBODY.uid)
    assert not [one for one in process_table.entries() if NOBODY.uid in process_table.uids(one.pid)]
