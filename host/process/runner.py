"""Starts commands and daemons. It is the only module that uses `subprocess`.

A command is an argv, never a shell string, and gets exactly the environment it is given. Every
child leads a session of its own and has a mark in its environment (`OROBOROS_JOB`), by which
`host.process.termination` finds its family again.
"""

import errno
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from host.deadline import Deadline
from host.files import log_files
from host.masking.masks import NO_MASKS, Masks
from host.process import log_writer, process_table, termination
from host.process.bounded_output import bounded_output
from host.process.inherited_state import UMASK, reset_argv
from host.process.log_writer import open_pipe
from host.process.outcome import CapturedOutput, Outcome
from host.process.private_tmp import private_tmp
from host.process.process_id import ProcessId
from host.process.termination import KILL_SECONDS, MARK_VARIABLE, POLL_SECONDS
from host.process.users import (
    DelegatedUser,
    User,
    env_argv,
    get_gid,
    limits_argv,
    setpriv_argv,
)

PR_SET_PDEATHSIG = 1
# Of what `capture` reads into memory: git's lists of a tree with half a million files are less.
OUTPUT_BYTES = 64 * 1024 * 1024
ERROR_BYTES = 1024 * 1024  # the last ones

REAP_SECONDS = 3600.0

_daemons: dict[int, subprocess.Popen[bytes]] = {}


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    timeout: float,
    env: Mapping[str, str],
    user: User | None = None,
    stop: Callable[[], bool] | None = None,
    stdin: bytes | None = None,
    masks: Masks = NO_MASKS,
) -> Outcome:
    """Run `argv` and wait for it; stdout and stderr are appended to `log`.

    Of long output the log gets the beginning and the end, and `masks` hide the values of secrets:
    see `host.process.bounded_output`. `env` is the complete environment. After `timeout` seconds,
    or when `stop` (called every 0.1 s) returns true, all its processes are killed and `exit_code`
    is None. At every end its whole family is killed, and every other process with the same
    OROBOROS_JOB: a job's name belongs to one run at a time. If this process is killed, so is the
    child. A non-zero exit code raises nothing. Raises OSError if the program cannot be started.
    """
    mark = env.get(MARK_VARIABLE) or _new_mark()
    env = {**env, MARK_VARIABLE: mark}
    # Opened by us: another user's command inherits the pipe and needs no right to the log.
    with bounded_output(log, masks, get_gid(user)) as output, _open_stdin(stdin) as source:
        if isinstance(user, DelegatedUser):
            _require(argv[0], cwd, env)
            streams = (source, output)
            return user.run(argv, cwd=cwd, streams=streams, timeout=timeout, env=env, stop=stop)
        child = _start(argv, cwd, env, user, (source, output, output), die_with_parent=True)
        output.close()  # the pipe ends with its last writer
        begun = process_table.read_start_time(child.pid)
        outcome = _wait(child, mark, timeout, stop, kill_all_marked=True)
        if user is not None:
            # What forked twice and cleared its environment has neither parent nor mark.
            termination.kill_orphans(user.uid, since=begun, only_unmarked=True)
        return outcome


def run_attached(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    user: User | None,
    streams: tuple[IO[bytes], IO[bytes], IO[bytes]],
    timeout: float,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Run `argv` on the caller's own input, output and errors, and wait for it as `run` does.

    Where the service manager starts the command, its errors go to the output.
    """
    mark = _new_mark()
    env = {**env, MARK_VARIABLE: mark}
    if isinstance(user, DelegatedUser):
        _require(argv[0], cwd, env)
        return user.run(argv, cwd=cwd, streams=streams[:2], timeout=timeout, env=env, stop=stop)
    child = _start(argv, cwd, env, user, streams, die_with_parent=True)
    begun = process_table.read_start_time(child.pid)
    outcome = _wait(child, mark, timeout, stop, kill_all_marked=True)
    if user is not None:
        termination.kill_orphans(user.uid, since=begun, only_unmarked=True)
    return outcome


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    timeout: float,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    stdin: bytes | None = None,
    die_with_parent: bool = True,
    limit: int = OUTPUT_BYTES,
) -> CapturedOutput:
    """Run a short command and return what it printed. Raises OSError if it cannot be started.

    It is ended when it has printed more than `limit` bytes, and `is_too_long` says so: nothing of
    the output is then read. Without `env` it gets PATH and a UTF-8 locale only; without `cwd` it
    runs in `/`. Without `die_with_parent` it may outlive us, and starts a millisecond earlier.
    """
    mark = _new_mark()
    if env is None:
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    # Files and not pipes: a grandchild that keeps a pipe open would keep us waiting.
    with (
        _open_stdin(stdin) as source,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        child = _start(
            argv,
            cwd or Path("/"),
            {**env, MARK_VARIABLE: mark},
            user,
            (source, stdout, stderr),
            die_with_parent=die_with_parent,
        )

        def is_too_long() -> bool:
            return os.fstat(stdout.fileno()).st_size > limit

        outcome = _wait(child, mark, timeout, is_too_long, kill_all_marked=False)
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - ERROR_BYTES))
        if is_too_long():
            return CapturedOutput(outcome.exit_code, b"", stderr.read(), is_too_long=True)
        stdout.seek(0)
        return CapturedOutput(outcome.exit_code, stdout.read(), stderr.read())


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    user: User | None,
    log: Path,
    mark: str | None = None,
    die_with_parent: bool = False,
    output: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> ProcessId:
    """Start a daemon and return its identity; its output is appended to `log`, or goes to `output`.

    It outlives us unless `die_with_parent`: then it is killed when the thread that started it
    ends. It gets a mark of its own, not that of the job we run for. A caller that must find it
    even after a crash right now writes down a `mark` first and passes it. It inherits the
    descriptors `pass_fds` under their numbers. Raises OSError if it cannot be started.
    """
    mark = mark or _new_mark()
    opened = log_files.open_append(log, get_gid(user)) if output is None else nullcontext(output)
    with opened as target, _open_stdin(None) as source:
        child = _start(
            argv,
            cwd,
            {**env, MARK_VARIABLE: mark},
            user,
            (source, target, target),
            die_with_parent=die_with_parent,
            pass_fds=pass_fds,
        )
    return _keep_daemon(child, mark)


@contextmanager
def log_pipe(log: Path, user: User | None) -> Iterator[tuple[IO[bytes], ProcessId]]:
    """Yield a pipe for a daemon of `user`, and the process that appends what comes to `log`.

    The caller's end is closed at the end, so that the process ends with the daemon. See
    `host.process.log_writer`. Raises OSError, also if the log is a link.
    """
    mark = _new_mark()
    env = {"PATH": os.defpath, MARK_VARIABLE: mark}
    source, output = open_pipe(get_gid(user))
    with output:
        with log_files.open_append(log) as file, os.fdopen(source, "rb", buffering=0) as end:
            streams = (end, file, file)
            child = _start(log_writer.ARGV, Path("/"), env, None, streams, die_with_parent=False)
        yield output, _keep_daemon(child, mark)


def _keep_daemon(child: subprocess.Popen[bytes], mark: str) -> ProcessId:
    """Reap the child when it ends, and return its identity."""
    _daemons[child.pid] = child
    process_id = ProcessId(child.pid, process_table.read_start_time(child.pid), mark)
    threading.Thread(target=_reap, args=(child,), daemon=True).start()
    return process_id


def stop(process_id: ProcessId, *, grace: float, leader_only: bool = False) -> bool:
    """Stop a daemon and its family, and reap it; see `termination.terminate_family`."""
    all_ended = termination.terminate_family(process_id, grace=grace, leader_only=leader_only)
    for child in list(_daemons.values()):
        child.poll()  # reaps it now; its thread may come a moment later
    return all_ended


def get_exit_code(process_id: ProcessId) -> int | None:
    """Return the exit code of a daemon that this process spawned; None if it runs or is unknown."""
    child = _daemons.get(process_id.pid)
    if child is None or process_id.is_alive():
        return None
    with suppress(subprocess.TimeoutExpired):
        # Not poll(), which knows nothing while another thread of ours reaps the child.
        return child.wait(KILL_SECONDS)
    return None


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Reap a daemon as it ends: a zombie keeps its pid, and counts against its user's limit."""
    while not termination.wait_for_end(child.pid, REAP_SECONDS):
        pass
    child.poll()


def kill_forks_with_parent() -> None:
    """From now on kill each child that Python forks when the thread that forked it ends.

    For multiprocessing's children, which are not started by setpriv; programs that are executed
    are not concerned. Source: prctl(2), PR_SET_PDEATHSIG.
    """
    import ctypes  # here, because only the worker needs it: it would slow down a slot's scripts

    libc = ctypes.CDLL(None, use_errno=True)
    os.register_at_fork(after_in_child=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def _new_mark() -> str:
    return os.urandom(8).hex()


def _open_stdin(data: bytes | None) -> IO[bytes]:
    """Return the child's stdin as a file: a child that does not read cannot block us."""
    if not data:
        return Path(os.devnull).open("rb")
    source = tempfile.TemporaryFile()  # noqa: SIM115 — the caller closes it
    source.write(data)
    source.seek(0)
    return source


def _start(
    argv: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    user: User | None,
    streams: tuple[IO[bytes], IO[bytes], IO[bytes]],
    *,
    die_with_parent: bool,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start the child. With `die_with_parent` it is killed when the calling thread ends."""
    _require(argv[0], cwd, env)
    stdin, stdout, stderr = streams
    limits = [*reset_argv(has_limits=bool(limits_argv(user))), *limits_argv(user)]
    prefix = setpriv_argv(user, die_with_parent=die_with_parent)
    folders = None if user is None or user.folders is None else user.folders.including(cwd)
    with nullcontext() if folders is None else private_tmp(folders):
        return subprocess.Popen(
            [*limits, *prefix, *env_argv(argv[0], cwd, user), *argv],
            cwd=cwd if user is None else "/",  # env_argv enters it with the user's rights
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            umask=UMASK,
            start_new_session=True,  # no terminal, and a process group that can be killed
            pass_fds=pass_fds,
        )


def _require(program: str, cwd: Path, env: Mapping[str, str]) -> None:
    """Raise FileNotFoundError for a missing program or folder: setpriv would only exit with 127."""
    path = str(Path(cwd, program)) if "/" in program else program
    if not cwd.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(cwd))
    if shutil.which(path, path=env.get("PATH", os.defpath)) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def _wait(
    child: subprocess.Popen[bytes],
    mark: str,
    timeout: float,
    stop: Callable[[], bool] | None,
    *,
    kill_all_marked: bool,
) -> Outcome:
    """Wait for the child, and end its family. Without `kill_all_marked` only its group is killed.

    The child is reaped only after its group is dead: until then its pid cannot be recycled.
    """
    begun, deadline = time.monotonic(), Deadline(timeout)
    timed_out = stopped = has_ended = False
    try:
        while not termination.wait_for_end(child.pid, min(POLL_SECONDS, deadline.seconds_left)):
            timed_out = deadline.has_passed
            stopped = not timed_out and stop is not None and stop()
            if timed_out or stopped:
                break
        has_ended = not (timed_out or stopped)
    finally:
        _end(child, mark, kill_all_marked=kill_all_marked or not has_ended)
    exit_code = child.returncode if has_ended else None
    return Outcome(exit_code, time.monotonic() - begun, timed_out, stopped)


def _end(child: subprocess.Popen[bytes], mark: str, *, kill_all_marked: bool) -> None:
    """Kill the rest of the child's family, then reap the child."""
    process_id = ProcessId(child.pid, process_table.read_start_time(child.pid), mark)
    # Read before the child dies: the kernel then gives its children to another parent.
    table = process_table.list_processes() if kill_all_marked else []
    known = set(termination.select_family(process_id, table, is_pid_ours=True))
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if kill_all_marked:
        termination.kill_family(process_id, known, is_pid_ours=True)
    with suppress(subprocess.TimeoutExpired):  # a process that hangs in the kernel
        child.wait(KILL_SECONDS)
