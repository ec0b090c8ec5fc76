"""The only room that starts and ends processes.

A command is an argv, never a shell string, and gets exactly the environment it is given. Every
child leads a session of its own and carries a mark in its environment, so that all of its family
is found again: its group, its session, its descendants, and what left all three. Processes are
known by pid *and* start time; signals go through a pidfd, so that a recycled pid is never hit.
"""

import errno
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from host.files import log_files
from host.process import process_table

MARK = "OROBOROS_JOB"
TICK_SECONDS = 0.1
KILL_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
# util-linux; it sets what Python could set only in `preexec_fn`, which is not safe with threads.
SETPRIV = shutil.which("setpriv") or "/usr/bin/setpriv"
ENV = shutil.which("env") or "/usr/bin/env"  # coreutils 8.28 or newer


@dataclass(frozen=True)
class User:
    """Whom a process runs as, by number; it gets no supplementary groups."""

    uid: int
    gid: int

    def pids(self) -> set[int]:
        """Return the pids of this user's processes."""
        return {entry.pid for entry in _of_user(self.uid)}

    def kill_all(self) -> bool:
        """Kill every process of this user (as root only); returns whether all are gone."""
        return kill_user(self.uid)


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `exit_code` is None if we ended it, negative if a signal did."""

    exit_code: int | None
    seconds: float
    timed_out: bool
    stopped: bool


@dataclass(frozen=True)
class Captured:
    """What a short command answered; `exit_code` is None if its time was over."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Identity:
    """One process and no other: its pid, its start in seconds since boot, its family's mark."""

    pid: int
    started: float
    mark: str = ""


class Elsewhere(User, ABC):
    """A user as whom not we but the host's service manager runs commands."""

    @abstractmethod
    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        streams: tuple[IO[bytes], IO[bytes]],
        timeout: float,
        env: Mapping[str, str],
        stop: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Run `argv` with `streams` as its input and its output and wait for it, as `run` does."""


_spawned: dict[int, subprocess.Popen[bytes]] = {}


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
) -> Outcome:
    """Run `argv` and wait for it; stdout and stderr are appended to `log`.

    `env` is the complete environment. After `timeout` seconds, or when `stop` (asked every 0.1 s)
    says so, all its processes are killed and `exit_code` is None. Whatever the end, nothing of its
    family is left, nor any other process with the same OROBOROS_JOB: a job's name belongs to one
    run at a time. If we are killed, so is the child. A non-zero exit is an answer: nothing is
    raised. Raises OSError if the program cannot be started.
    """
    mark = env.get(MARK) or os.urandom(8).hex()
    env = {**env, MARK: mark}
    with log_files.open_append(log) as output, _source(stdin) as source:
        if isinstance(user, Elsewhere):
            _require(argv[0], cwd, env)
            streams = (source, output)
            return user.run(argv, cwd=cwd, streams=streams, timeout=timeout, env=env, stop=stop)
        child = _start(argv, cwd, env, user, (source, output, output), tied=True)
        return _attend(child, mark, timeout, stop, thorough=True)


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    timeout: float,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    stdin: bytes | None = None,
    tied: bool = True,
) -> Captured:
    """Run a short command and return what it wrote. Raises OSError if it cannot be started.

    Without `env` it gets PATH and a UTF-8 locale, nothing of ours; without `cwd` it runs in `/`.
    Untied it may outlive us, and takes a millisecond less to start.
    """
    mark = os.urandom(8).hex()
    if env is None:
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    # Files and not pipes: a grandchild that holds them cannot keep us waiting.
    with (
        _source(stdin) as source,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        streams = (source, stdout, stderr)
        child = _start(argv, cwd or Path("/"), {**env, MARK: mark}, user, streams, tied=tied)
        outcome = _attend(child, mark, timeout, None, thorough=False)
        stdout.seek(0)
        stderr.seek(0)
        return Captured(outcome.exit_code, stdout.read(), stderr.read())


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    user: User | None,
    log: Path,
    mark: str | None = None,
    tied: bool = False,
) -> Identity:
    """Start a daemon that outlives us and return who it is; its output is appended to `log`.

    Tied, it does not: it is killed when the thread that started it ends.

    It gets a mark of its own, whatever job we run for; one who must find it even if we die right
    now gives `mark` and notes it before. Raises OSError if it cannot be started.
    """
    mark = mark or os.urandom(8).hex()
    with log_files.open_append(log) as output, _source(None) as source:
        child = _start(argv, cwd, {**env, MARK: mark}, user, (source, output, output), tied=tied)
    _spawned[child.pid] = child
    return Identity(child.pid, process_table.started(child.pid), mark)


def tie_forks() -> None:
    """From now on each child that Python forks dies with the thread that forked it.

    For multiprocessing's children, which no launcher can tie; programs that are executed are not
    concerned. Source: prctl(2), PR_SET_PDEATHSIG.
    """
    import ctypes  # a slot's commands start sooner without it

    libc = ctypes.CDLL(None, use_errno=True)
    os.register_at_fork(after_in_child=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def alive(identity: Identity) -> bool:
    """Say whether exactly that process runs; a zombie does not."""
    return process_table.is_alive(identity.pid, identity.started)


def exit_code(identity: Identity) -> int | None:
    """Return how a daemon ended that we spawned ourselves; None if it runs or nobody knows."""
    child = _spawned.get(identity.pid)
    return child.poll() if child is not None and not alive(identity) else None


def family(identity: Identity) -> set[int]:
    """Return the pids that belong to the process: group, session, descendants, mark."""
    table = process_table.entries()
    return {entry.pid for entry in _family(identity, table, trusted=_leads(identity, table))}


def stop(identity: Identity, *, grace: float, leader_only: bool = False) -> bool:
    """Stop the process and all of its family: SIGTERM, after `grace` seconds SIGKILL.

    `leader_only`: the process itself ends its children in order, so only it gets the SIGTERM; it is
    systemd's KillMode=mixed. Returns whether all are gone. A process that is not the one meant is
    never signalled.
    """
    table = process_table.entries()
    trusted = _leads(identity, table)
    known = set(_family(identity, table, trusted=trusted))
    for entry in known:
        if not leader_only or entry.pid == identity.pid:
            _signal(entry, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while alive(identity) and (left := deadline - time.monotonic()) > 0:
        if not _ended(identity.pid, min(TICK_SECONDS, left)):
            known |= set(_family(identity, process_table.entries(), trusted=trusted))
        _reap()
    gone = _kill(identity, known, trusted=trusted)
    _reap()
    return gone


def kill_marked(job: str) -> bool:
    """Kill every process of that job that we may see; returns whether all are gone."""
    return _kill_all(
        lambda: [
            entry
            for entry in process_table.entries()
            if process_table.variable(entry.pid, MARK) == job
        ]
    )


def kill_user(uid: int) -> bool:
    """Kill every process of a reserved uid (as root only); returns whether all are gone."""
    if uid in (0, os.getuid(), os.geteuid()):
        raise ValueError(f"uid {uid} is not a reserved one")
    return _kill_all(lambda: _of_user(uid))


def _of_user(uid: int) -> list[process_table.Entry]:
    return [entry for entry in process_table.entries() if uid in process_table.uids(entry.pid)]


def _source(stdin: bytes | None) -> IO[bytes]:
    """Return the child's stdin as a file: a child that does not read cannot block us."""
    if not stdin:
        return Path(os.devnull).open("rb")
    source = tempfile.TemporaryFile()  # noqa: SIM115 — the caller closes it
    source.write(stdin)
    source.seek(0)
    return source


def _start(
    argv: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    user: User | None,
    streams: tuple[IO[bytes], IO[bytes], IO[bytes]],
    *,
    tied: bool,
) -> subprocess.Popen[bytes]:
    """Start the child. Tied: it dies with the thread that starts it, which waits for it."""
    _require(argv[0], cwd, env)
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        [*_launcher(user, tied=tied), *_entering(argv[0], cwd, user), *argv],
        cwd=cwd if user is None else "/",
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def _launcher(user: User | None, *, tied: bool) -> list[str]:
    """Return the words before argv that change the user, then tie the child to our life.

    In this order: the kernel forgets the tie when the user changes.
    """
    options = []
    if user is not None:
        options += ["--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
        options += ["--no-new-privs"]
    if tied:
        options += ["--pdeathsig", "KILL"]
    return [SETPRIV, *options, "--"] if options else []


def _entering(program: str, cwd: Path, user: User | None) -> list[str]:
    """Return the words before argv that enter `cwd` as `user`.

    As root we would get through folders that are closed to the user: a link that a branch
    committed, or put there meanwhile, must not lead it into another slot's. Where the user gets
    nowhere, it ends with 125 and says why.
    """
    if user is None:
        return []
    words = [ENV, f"--chdir={cwd}", "--"]
    # env would set it as a variable, and start the next word in its place.
    return [*words, SETPRIV, "--no-new-privs", "--"] if "=" in program else words


def _require(program: str, cwd: Path, env: Mapping[str, str]) -> None:
    """Raise FileNotFoundError for what is not there: a launcher would only exit 125 or 127."""
    place = str(Path(cwd, program)) if "/" in program else program
    if not cwd.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(cwd))
    if shutil.which(place, path=env.get("PATH", os.defpath)) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def _attend(
    child: subprocess.Popen[bytes],
    mark: str,
    timeout: float,
    stop: Callable[[], bool] | None,
    *,
    thorough: bool,
) -> Outcome:
    """Wait for the child. It is reaped only after its group is dead: until then its pid is ours."""
    begun = time.monotonic()
    timed_out = stopped = False
    clean = False
    try:
        while not _ended(
            child.pid, min(TICK_SECONDS, max(0.0, begun + timeout - time.monotonic()))
        ):
            timed_out = time.monotonic() - begun >= timeout
            stopped = not timed_out and stop is not None and stop()
            if timed_out or stopped:
                break
        clean = not (timed_out or stopped)
    finally:
        _end(child, mark, thorough=thorough or not clean)
    exit_code = child.returncode if clean else None
    return Outcome(exit_code, time.monotonic() - begun, timed_out, stopped)


def _ended(pid: int, seconds: float) -> bool:
    """Wait so long for a process to end, without reaping it if it is our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # it was not our child, and is gone
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _end(child: subprocess.Popen[bytes], mark: str, *, thorough: bool) -> None:
    """Kill what is left of the child's family, then reap the child."""
    identity = Identity(child.pid, process_table.started(child.pid), mark)
    # Looked at while the child lives: its children are nobody's as soon as it is dead.
    known = set(_family(identity, process_table.entries(), trusted=True)) if thorough else set()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if thorough:
        _kill(identity, known, trusted=True)
    with suppress(subprocess.TimeoutExpired):  # a process that hangs in the kernel
        child.wait(KILL_SECONDS)


def _kill(identity: Identity, known: set[process_table.Entry], *, trusted: bool) -> bool:
    """SIGKILL the family, with those that were known to be of it, until all are gone."""

    def found() -> list[process_table.Entry]:
        table = process_table.entries()
        known.update(_family(identity, table, trusted=trusted))
        return [entry for entry in known if entry.is_alive()]

    return _kill_all(found)


def _kill_all(find: Callable[[], list[process_table.Entry]]) -> bool:
    """SIGKILL what `find` returns until it returns nothing: who forks meanwhile is found again."""
    deadline = time.monotonic() + KILL_SECONDS
    while found := find():
        if time.monotonic() > deadline:
            return False
        for entry in found:
            _signal(entry, signal.SIGKILL)
        time.sleep(0.005)
    return True


def _signal(entry: process_table.Entry, number: signal.Signals) -> None:
    """Signal that very process; one that took over its pid is left alone."""
    with suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(entry.pid)
        try:
            if entry.is_alive():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _family(
    identity: Identity, table: list[process_table.Entry], *, trusted: bool
) -> list[process_table.Entry]:
    """Return the living family. Trusted: `identity.pid` is surely ours, so its session is too.

    A daemon that a member spawned is a family of its own: its parent may be stopped without it.
    """
    ours = {identity.pid} if trusted else set()
    size = -1
    while size != len(ours):  # until no more descendants are found
        size = len(ours)
        ours |= {
            entry.pid
            for entry in table
            if entry.parent in ours and not _is_other_daemon(entry, identity)
        }
    return [
        entry
        for entry in table
        if entry.pid != os.getpid()
        and (
            entry.pid in ours
            or (trusted and identity.pid in (entry.group, entry.session))
            or (identity.mark and _is_marked(entry, identity))
        )
    ]


def _is_marked(entry: process_table.Entry, identity: Identity) -> bool:
    """Whether the process carries the family's mark; none that is older than the family does."""
    return (
        entry.started >= identity.started
        and process_table.variable(entry.pid, MARK) == identity.mark
    )


def _is_other_daemon(entry: process_table.Entry, identity: Identity) -> bool:
    mark = process_table.variable(entry.pid, MARK) if entry.session == entry.pid else ""
    return bool(mark) and mark != identity.mark


def _leads(identity: Identity, table: list[process_table.Entry]) -> bool:
    return any((entry.pid, entry.started) == (identity.pid, identity.started) for entry in table)


def _reap() -> None:
    """Collect the daemons of ours that ended, so that none stays a zombie."""
    for child in list(_spawned.values()):
        child.poll()
