"""What the runner's functions pass on to the child, to its user and to its caller."""

import errno
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from host.masking.masks import create_masks
from host.process import process_table, runner
from host.process.outcome import Outcome
from host.process.process_id import ProcessId
from host.process.users import DelegatedUser
from tests.host.processes import (
    ENV,
    RESERVED_USER,
    ROOT,
    is_running,
    run,
    wait_for,
    wait_for_another_start_time,
    wait_for_pid,
)

DUMP = ["setpriv", "--dump"]
C_ENV = {**ENV, "LC_ALL": "C.UTF-8"}
# What `setpriv --dump` says of a process that ends with the one that started it.
TIED = b"Parent death signal: KILL"
SECRET = "a-secret-of-the-operator"
OUTCOME = Outcome(7, 1.5, timed_out=False, stopped=False)


@pytest.fixture
def delegated():
    """A user whose commands something else starts, and the calls that it got."""
    calls = []

    class Recorder(DelegatedUser):
        def run(self, argv, *, cwd, streams, timeout, env, stop=None):
            source, output = streams
            calls.append((argv, cwd, timeout, env, stop, source.read()))
            output.write(f"it said {SECRET}\n".encode())
            output.flush()
            return OUTCOME

    return Recorder(os.getuid(), os.getgid()), calls


@pytest.fixture
def streams(tmp_path):
    """A command's own input, output and errors, and a function that returns what was written."""
    (tmp_path / "in").write_text("asked")
    with (
        (tmp_path / "in").open("rb") as source,
        (tmp_path / "out").open("wb") as output,
        (tmp_path / "err").open("wb") as errors,
    ):
        read = lambda: [(tmp_path / name).read_text() for name in ("out", "err")]  # noqa: E731
        yield (source, output, errors), read


def attach(script, streams, **options):
    options = {"cwd": ROOT, "env": ENV, "user": None, "timeout": 60, **options}
    return runner.run_attached(["sh", "-c", script], streams=streams, **options)


def never():
    return False


def has_pid(path):
    return path.exists() and path.read_text().endswith("\n")


# --- a user whose commands the service manager starts


def test_a_delegated_users_command_gets_its_arguments_and_writes_to_the_log(
    delegated, log, tmp_path
):
    user, calls = delegated
    env = {**ENV, "OROBOROS_JOB": "a job"}
    outcome = runner.run(
        ["sh", "-c", "true"],
        cwd=tmp_path,
        log=log,
        timeout=33,
        env=env,
        user=user,
        stop=never,
        stdin=b"asked",
        masks=create_masks([SECRET]),
    )
    assert outcome is OUTCOME
    assert calls == [(["sh", "-c", "true"], tmp_path, 33, env, never, b"asked")]
    assert log.read_text().startswith("it said ")
    assert SECRET not in log.read_text()


def test_a_delegated_users_attached_command_gets_input_and_output(delegated, streams, tmp_path):
    user, calls = delegated
    opened, read = streams
    assert attach("true", opened, user=user, cwd=tmp_path, timeout=33, stop=never) is OUTCOME
    [(argv, cwd, timeout, env, stop, text)] = calls
    assert (argv, cwd, timeout, stop, text) == (["sh", "-c", "true"], tmp_path, 33, never, b"asked")
    assert env.keys() == {"PATH", "OROBOROS_JOB"} and env["PATH"] == ENV["PATH"]
    assert read() == [f"it said {SECRET}\n", ""]


def test_what_a_delegated_user_cannot_start_is_not_asked_for(delegated, streams, log, tmp_path):
    user, calls = delegated
    for cwd, env in ((tmp_path / "none", ENV), (tmp_path, {"PATH": "/nowhere"})):
        with pytest.raises(FileNotFoundError):
            runner.run(["sh", "a"], cwd=cwd, log=log, timeout=1, env=env, user=user)
        with pytest.raises(FileNotFoundError):
            attach("true", streams[0], user=user, cwd=cwd, env=env)
    assert calls == []


# --- run


def test_the_values_of_secrets_are_masked_in_the_log(log):
    masks = create_masks([SECRET])
    run(f"echo it said {SECRET}", log, masks=masks)
    assert log.read_text().startswith("it said ")
    assert SECRET not in log.read_text()


def test_a_command_ends_with_our_thread_and_its_job_has_a_name_of_its_own(log):
    runner.run(DUMP, cwd=ROOT, log=log, timeout=60, env=C_ENV)
    assert TIED in log.read_bytes()
    runner.run(["env"], cwd=ROOT, log=log, timeout=60, env={**ENV, "OROBOROS_JOB": "a job"})
    assert "OROBOROS_JOB=a job\n" in log.read_text()


def test_what_a_command_started_in_another_session_ends_with_it(log, tmp_path):
    pid = tmp_path / "pid"
    script = f"setsid sleep 600 & echo $! > {pid}"
    outcome = run(script, log)
    assert (outcome.exit_code, outcome.timed_out, outcome.stopped) == (0, False, False)
    assert 0 < outcome.seconds < 600
    assert not is_running(wait_for_pid(pid))


def test_a_command_is_stopped_or_timed_out_and_not_both(log, tmp_path):
    pid = tmp_path / "pid"
    script = f"setsid sleep 600 & echo $! > {pid}; sleep 600"
    stopped = run(script, log, stop=lambda: has_pid(pid))
    assert (stopped.exit_code, stopped.timed_out, stopped.stopped) == (None, False, True)
    assert not is_running(wait_for_pid(pid))
    late = run("sleep 600", log, timeout=0.01, stop=lambda: pytest.fail("asked after the time"))
    assert (late.exit_code, late.timed_out, late.stopped) == (None, True, False)


def test_a_program_of_the_folder_and_none_of_the_folders_above_is_found(log, tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\nexit 5\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "inner").mkdir()
    for program, cwd in (("./tool", tmp_path), ("../tool", tmp_path / "inner")):
        found = runner.run([program], cwd=cwd, log=log, timeout=60, env=ENV)
        assert found.exit_code == 5
    with pytest.raises(FileNotFoundError) as caught:
        runner.run(["./tool"], cwd=tmp_path / "inner", log=log, timeout=60, env=ENV)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "./tool")
    assert caught.value.strerror == os.strerror(errno.ENOENT)


def test_a_missing_folder_is_named(log, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        run("true", log, cwd=tmp_path / "none")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "none"))
    assert caught.value.strerror == os.strerror(errno.ENOENT)


def test_a_child_has_a_session_and_our_umask_and_no_other_open_file(log, tmp_path):
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        run("umask; cut -d ' ' -f 6 /proc/$$/stat; echo $$; ls -l /proc/self/fd", log)
    umask, session, pid, *rest = log.read_text().split("\n")
    assert (umask, session) == ("0022", pid)
    assert str(tmp_path / "ours") not in "".join(rest)


@pytest.mark.root
def test_only_what_the_command_of_a_user_left_is_ended(open_path, log):
    sleep = ["sleep", "600"]
    earlier = runner.spawn(sleep, cwd=ROOT, env=ENV, user=RESERVED_USER, log=log)
    wait_for_another_start_time()
    try:
        left = "setsid env -i /bin/sh -c 'sleep 600 & wait' &"
        run(f"{left} true", log, cwd=open_path, user=RESERVED_USER)
        assert RESERVED_USER.pids() == {earlier.pid}
    finally:
        runner.stop(earlier, grace=0)


# --- run_attached


def test_an_attached_command_reads_and_writes_its_callers_files(streams):
    opened, read = streams
    outcome = attach("cat; echo warned >&2; exit 3", opened)
    assert (outcome.exit_code, outcome.timed_out, outcome.stopped) == (3, False, False)
    assert read() == ["asked", "warned\n"]


def test_an_attached_command_gets_its_environment_and_ends_with_our_thread(streams, tmp_path):
    opened, read = streams
    env = {**C_ENV, "GIVEN": "yes", "OROBOROS_JOB": "ours"}
    attach("pwd; env; exec setpriv --dump", opened, env=env, cwd=tmp_path)
    cwd, *lines = read()[0].splitlines()
    assert (cwd, TIED.decode() in lines, "GIVEN=yes" in lines) == (str(tmp_path), True, True)
    [mark] = [line for line in lines if line.startswith("OROBOROS_JOB=")]
    assert mark not in ("OROBOROS_JOB=ours", "OROBOROS_JOB=")


def test_what_an_attached_command_started_ends_with_it(streams, tmp_path):
    opened, pid = streams[0], tmp_path / "pid"
    attach(f"setsid sleep 600 & echo $! > {pid}", opened)
    assert not is_running(wait_for_pid(pid))
    script = f"rm {pid}; (setsid sh -c 'echo $$ > {pid}; exec sleep 600' &); sleep 600"
    stopped = attach(script, opened, stop=lambda: has_pid(pid))
    assert (stopped.exit_code, stopped.stopped) == (None, True)
    assert not is_running(wait_for_pid(pid))
    assert attach("sleep 600", opened, timeout=0.01).timed_out


@pytest.mark.root
def test_an_attached_command_of_a_user_has_its_ids_and_leaves_nothing(open_path, streams):
    opened, read = streams
    left = "setsid env -i /bin/sh -c 'sleep 600 & wait' &"
    attach(f"id -u; {left} true", opened, cwd=open_path, user=RESERVED_USER)
    assert read()[0] == f"{RESERVED_USER.uid}\n"
    assert RESERVED_USER.pids() == set()


# --- capture


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_captured_command_ends_with_our_thread_unless_it_may_outlive_us(is_tied):
    options = {} if is_tied else {"die_with_parent": False}
    found = runner.capture(DUMP, timeout=60, env=C_ENV, **options)
    assert (found.exit_code, TIED in found.stdout) == (0, is_tied)


def test_a_captured_command_has_the_folder_and_the_environment_that_it_is_given(tmp_path):
    script = ["sh", "-c", "pwd; echo $GIVEN; echo $OROBOROS_JOB"]
    found = runner.capture(script, timeout=60, cwd=tmp_path, env={**ENV, "GIVEN": "yes"})
    cwd, given, mark = found.stdout.decode().splitlines()
    assert (cwd, given, len(mark)) == (str(tmp_path), "yes", 16)
    found = runner.capture(["sh", "-c", "pwd; echo $PATH; echo $LC_ALL"], timeout=60)
    assert found.stdout.decode().splitlines() == ["/", os.environ["PATH"], "C.UTF-8"]


def test_without_our_own_path_a_captured_command_has_the_systems(monkeypatch):
    monkeypatch.delenv("PATH")
    assert runner.capture(["sh", "-c", "echo $PATH"], timeout=60).stdout == (
        f"{os.defpath}\n".encode()
    )


@pytest.mark.root
def test_a_captured_command_of_a_user_has_its_ids():
    found = runner.capture(["id", "-u"], timeout=60, user=RESERVED_USER)
    assert found.stdout == f"{RESERVED_USER.uid}\n".encode()


@pytest.mark.parametrize(("size", "is_too_long"), [(9, False), (10, False), (11, True)])
def test_output_above_the_limit_is_not_read(size, is_too_long):
    script = f"echo warned >&2; head -c {size} /dev/zero"
    found = runner.capture(["sh", "-c", script], timeout=60, limit=10)
    assert found.is_too_long is is_too_long
    assert (found.stdout, found.stderr) == (b"" if is_too_long else bytes(size), b"warned\n")
    assert is_too_long or found.exit_code == 0


def test_a_captured_command_that_prints_too_much_is_ended():
    found = runner.capture(["sh", "-c", "echo too long; exec sleep 600"], timeout=300, limit=1)
    assert (found.is_too_long, found.exit_code, found.stdout) == (True, None, b"")


def test_of_long_errors_the_last_bytes_are_kept(monkeypatch):
    monkeypatch.setattr(runner, "ERROR_BYTES", 5)
    found = runner.capture(["sh", "-c", "printf 123456789 >&2"], timeout=60)
    assert found.stderr == b"56789"


# --- spawn


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_daemon_ends_with_our_thread_if_asked_for(log, is_tied):
    options = {"die_with_parent": True} if is_tied else {}
    runner.spawn(DUMP, cwd=ROOT, env=C_ENV, user=None, log=log, **options)
    wait_for(lambda: b"Parent death" in log.read_bytes() and log.read_bytes().endswith(b"\n"))
    assert (TIED in log.read_bytes()) is is_tied


@pytest.mark.parametrize("mark", [None, "written-down"])
def test_a_daemon_has_a_mark_of_its_own_or_the_one_that_was_written_down(spawn, log, mark):
    env = {**ENV, "OROBOROS_JOB": "the job that we run for", "GIVEN": "yes"}
    options = {} if mark is None else {"mark": mark}
    process_id = spawn("echo $OROBOROS_JOB $GIVEN; exec sleep 600", env=env, **options)
    wait_for(lambda: log.read_text().endswith("\n"))
    assert log.read_text() == f"{process_id.mark} yes\n"
    assert process_id.mark == mark or (mark is None and len(process_id.mark) == 16)
    assert runner.get_exit_code(process_id) is None


def test_a_daemon_writes_to_the_given_output_and_inherits_the_given_files(spawn, log, tmp_path):
    with (tmp_path / "out").open("wb") as output, (tmp_path / "kept").open("wb") as kept:
        script = f"echo said; echo warned >&2; echo kept > /proc/self/fd/{kept.fileno()}; pwd"
        spawn(script, output=output, pass_fds=[kept.fileno()], cwd=tmp_path)
    wait_for(lambda: (tmp_path / "out").read_text().count("\n") == 3)
    assert (tmp_path / "out").read_text() == f"said\nwarned\n{tmp_path}\n"
    assert (tmp_path / "kept").read_text() == "kept\n"
    assert not log.exists()


@pytest.mark.root
def test_the_log_of_a_users_daemon_has_its_group(open_path, spawn):
    log = open_path / "a.log"
    spawn("id -u; echo again >> /dev/stdout", user=RESERVED_USER, log=log)
    wait_for(lambda: log.read_text().count("\n") == 2)
    assert log.read_text() == f"{RESERVED_USER.uid}\nagain\n"
    found = log.stat()
    assert (found.st_uid, found.st_gid) == (0, RESERVED_USER.gid)
    assert stat.S_IMODE(found.st_mode) == 0o660


def test_a_pipe_leads_to_the_log_and_its_process_ends_with_it(log):
    with runner.log_pipe(log, None) as (output, writer):
        output.write(b"said\n")
        assert writer == ProcessId(
            writer.pid, process_table.read_start_time(writer.pid), writer.mark
        )
        # While it executes the program, the kernel shows no variables of it.
        wait_for(lambda: process_table.read_variable(writer.pid, "OROBOROS_JOB") == writer.mark)
    wait_for(lambda: not writer.is_alive())
    assert log.read_text() == "said\n"
    assert runner.get_exit_code(writer) == 0


def test_nothing_is_known_of_a_daemon_of_another_process():
    assert runner.get_exit_code(ProcessId(os.getppid(), 1.0, "a mark")) is None


def test_a_daemon_that_ended_has_the_number_of_its_signal(spawn):
    process_id = spawn("kill -KILL $$")
    wait_for(lambda: not process_id.is_alive())
    assert runner.get_exit_code(process_id) == -signal.SIGKILL


def test_stopping_asks_the_whole_family_unless_told_otherwise(spawn, log):
    child = "trap 'echo child; exit' TERM; echo ready; while :; do sleep 0.02; done"
    process_id = spawn(f"trap 'wait; exit' TERM; ({child}) & wait")
    wait_for(lambda: "ready" in log.read_text())
    assert runner.stop(process_id, grace=60)
    assert "child" in log.read_text()


def test_forks_end_with_the_thread_that_forked_them(tmp_path):
    pid = tmp_path / "pid"
    code = f"""
import os, threading, time
from pathlib import Path
from host.process import runner
runner.kill_forks_with_parent()
def work():
    child = os.fork()
    if child == 0:
        Path({str(pid)!r}).write_text(f"{{os.getpid()}}\\n")
        time.sleep(60)
        os._exit(0)
    while not Path({str(pid)!r}).exists():
        time.sleep(0.01)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(-os.wait()[1])
"""
    found = runner.capture(
        [sys.executable, "-c", code],
        timeout=300,
        cwd=Path(__file__).resolve().parents[3],
        env=os.environ,
    )
    assert (found.exit_code, found.stdout) == (0, f"-{int(signal.SIGKILL)}\n".encode()), found
