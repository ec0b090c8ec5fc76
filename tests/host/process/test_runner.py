"""Commands that are waited for: real processes, checked from outside."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host.files import log_files
from host.process import process_table, runner
from tests.host.processes import (
    ENV,
    RESERVED_USER,
    ROOT,
    is_running,
    run,
    wait_for,
    wait_for_pid,
)

CHECKOUT = Path(__file__).resolve().parents[3]


def test_a_command_has_an_exit_code_and_its_output_is_logged(log):
    outcome = run("echo said; echo warned >&2; exit 3", log)
    assert outcome.exit_code == 3
    assert not outcome.timed_out
    assert not outcome.stopped
    assert log.read_text() == "said\nwarned\n"


def test_output_is_appended_to_an_existing_log(log):
    log.write_text("before\n")
    run("echo after", log)
    assert log.read_text() == "before\nafter\n"


def test_a_command_gets_its_environment_and_a_mark_only(log, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "ours")
    runner.run(["env"], cwd=ROOT, log=log, timeout=60, env={**ENV, "GIVEN": "yes"})
    names = {line.partition("=")[0] for line in log.read_text().splitlines()}
    assert names == {"PATH", "GIVEN", "OROBOROS_JOB"}


def test_a_command_runs_in_cwd(log, tmp_path):
    run("pwd", log, cwd=tmp_path)
    assert log.read_text().strip() == str(tmp_path)


def test_argv_is_not_expanded_by_a_shell(log):
    argv = ["printf", "%s", "$(id); `id` && id > /tmp/x"]
    runner.run(argv, cwd=ROOT, log=log, timeout=60, env=ENV)
    assert log.read_text() == "$(id); `id` && id > /tmp/x"


def test_an_unknown_program_raises_file_not_found(log):
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        runner.run(["no-such-program"], cwd=ROOT, log=log, timeout=60, env=ENV)


def test_a_program_is_searched_in_the_given_path_only(log):
    with pytest.raises(FileNotFoundError):
        runner.run(["env"], cwd=ROOT, log=log, timeout=60, env={"PATH": "/nowhere"})


def test_a_command_killed_by_a_signal_has_its_negative_number_as_exit_code(log):
    assert run("kill -TERM $$", log).exit_code == -signal.SIGTERM


def test_stdin_is_passed_and_does_not_block_if_it_is_not_read(log):
    assert run("cat", log, stdin=b"words").exit_code == 0
    assert log.read_text() == "words"
    assert run("true", log, stdin=b"x" * 1_000_000).exit_code == 0


def test_without_stdin_a_reading_command_ends_at_once(log):
    assert run("cat", log).exit_code == 0


def time_out(has_begun, start):
    """Return what `start(timeout)` returns, with a timeout at which the command has begun."""
    for timeout in (0.5, 5, 50):
        found = start(timeout)
        if has_begun(found):
            break
    return found


@pytest.mark.alone
def test_a_timeout_ends_a_command_that_ignores_sigterm(log, tmp_path):
    pid = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ > {pid}; sleep 600; sleep 600"
    outcome = time_out(lambda _: pid.exists(), lambda seconds: run(script, log, timeout=seconds))
    assert outcome.exit_code is None
    assert outcome.timed_out
    assert outcome.seconds < 100
    assert not is_running(wait_for_pid(pid))


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & echo $! > {pid}",
        "setsid sleep 600 & echo $! > {pid}",
        "(setsid sh -c 'echo $$ > {pid}; exec sleep 600' &)",
        "setsid env -i /bin/sh -c 'echo $$ > {pid}; sleep 600' & wait",
    ],
    ids=["in its group", "in another session", "orphaned", "without its mark"],
)
@pytest.mark.alone
def test_a_timeout_ends_a_grandchild_that_keeps_the_output_open(log, tmp_path, script):
    pid = tmp_path / "pid"
    script = script.format(pid=pid) + "; sleep 600"
    outcome = time_out(lambda _: pid.exists(), lambda seconds: run(script, log, timeout=seconds))
    assert outcome.timed_out
    assert outcome.seconds < 100
    assert not is_running(wait_for_pid(pid))


@pytest.mark.alone
def test_a_grandchild_neither_delays_the_end_nor_outlives_it(log, tmp_path):
    pid = tmp_path / "pid"
    outcome = run(f"setsid sleep 600 & echo $! > {pid}", log)
    assert outcome.exit_code == 0
    assert outcome.seconds < 20
    assert not is_running(wait_for_pid(pid))


@pytest.mark.alone
def test_a_timeout_ends_a_fork_storm(log):
    env = {**ENV, "OROBOROS_JOB": "storm"}
    outcome = run("while :; do sleep 600 & sleep 0.01; done", log, env=env, timeout=0.5)
    assert outcome.seconds < 20
    assert "storm" not in {
        process_table.read_variable(one.pid, "OROBOROS_JOB")
        for one in process_table.list_processes()
    }


@pytest.mark.alone
def test_a_command_is_stopped_when_stop_returns_true(log):
    answers = iter([False, False, True])
    outcome = run("sleep 600", log, stop=lambda: next(answers))
    assert outcome.exit_code is None
    assert outcome.stopped
    assert not outcome.timed_out
    assert outcome.seconds < 20


def test_an_exception_in_stop_ends_the_command(log, tmp_path):
    def lose_claim():
        wait_for_pid(tmp_path / "pid")
        raise ConnectionError("the claim cannot be renewed")

    with pytest.raises(ConnectionError):
        run(f"echo $$ > {tmp_path}/pid; sleep 600", log, stop=lose_claim)
    assert not is_running(wait_for_pid(tmp_path / "pid"))


def test_a_timeout_does_not_end_another_job(log, spawn):
    other = spawn("sleep 600")
    assert run("sleep 600", log, timeout=0.2).timed_out
    assert other.is_alive()


PARENT = """
import sys, threading
from pathlib import Path
from host.process import runner
from host.process.users import User
user = User({uid}, {uid}) if {uid} else None
def work():
    runner.run(["sh", "-c", "echo $$ > {pid}; exec sleep 600"], cwd=Path("/"), log=Path("{log}"),
               timeout=50, env={env}, user=user)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def assert_child_dies_with_parent(tmp_path, log, uid):
    pid = tmp_path / "pid"
    if uid:
        pid.touch()
        os.chown(pid, uid, uid)
    script = PARENT.format(uid=uid, pid=pid, log=log, env=ENV)
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT)
    child = wait_for_pid(pid)
    assert is_running(child)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_running(child))


def test_a_command_is_killed_with_its_worker(tmp_path, log):
    assert_child_dies_with_parent(tmp_path, log, uid=0)


@pytest.mark.root
def test_a_command_of_another_user_is_killed_with_its_worker(open_path, log):
    assert_child_dies_with_parent(open_path, log, uid=RESERVED_USER.uid)


@pytest.mark.root
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_of_another_user_opens_its_streams_by_name(open_path, log, stream):
    outcome = run(f"echo said >> /dev/{stream}", log, cwd=open_path, user=RESERVED_USER)
    assert (outcome.exit_code, log.read_text()) == (0, "said\n")


@pytest.mark.root
def test_an_archived_log_is_closed_to_the_next_process_of_its_user(open_path):
    log = open_path / "a.log"
    run("echo said", log, cwd=open_path, user=RESERVED_USER)
    log_files.archive(log)
    outcome = run(f"cat {log}.1", log, cwd=open_path, user=RESERVED_USER)
    assert outcome.exit_code != 0


def test_capture_returns_both_streams_and_the_exit_code():
    script = "cat; echo warned >&2; exit 2"
    found = runner.capture(["sh", "-c", script], timeout=60, stdin=b"asked")
    assert (found.exit_code, found.stdout, found.stderr) == (2, b"asked", b"warned\n")


def test_capture_passes_nothing_of_our_environment(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "ours")
    found = runner.capture(["env"], timeout=60)
    assert b"SECRET_KEY" not in found.stdout
    assert b"LC_ALL=C.UTF-8" in found.stdout


def test_a_captured_command_that_times_out_has_no_exit_code():
    argv = ["sh", "-c", "echo begun; sleep 600"]
    found = time_out(lambda one: one.stdout, lambda seconds: runner.capture(argv, timeout=seconds))
    assert (found.exit_code, found.stdout) == (None, b"begun\n")


def test_a_timeout_of_a_captured_command_ends_a_grandchild_in_a_session_of_its_own(tmp_path):
    pid = tmp_path / "pid"
    argv = ["sh", "-c", f"setsid sh -c 'echo $$ > {pid}; exec sleep 600' & sleep 600"]
    found = time_out(lambda _: pid.exists(), lambda seconds: runner.capture(argv, timeout=seconds))
    assert found.exit_code is None
    assert not is_running(wait_for_pid(pid))


@pytest.mark.alone
def test_capture_does_not_wait_for_a_grandchild():
    begun = time.monotonic()
    found = runner.capture(["sh", "-c", "echo now; sleep 600 &"], timeout=300)
    assert (found.exit_code, found.stdout) == (0, b"now\n")
    assert time.monotonic() - begun < 100


def test_a_log_that_is_a_link_is_not_opened(log, tmp_path):
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        run("echo x", log)
    assert not (tmp_path / "elsewhere").exists()
