"""Commands as another user where we are not root: as systemd services, one unit per command.

The installed template `ouroboros-job@` runs as the jobs' user, and under fixed instance names as a
slot's or production's user. The command lies in a file that systemd hands to the unit as a
credential. `host.units.systemd_exec` in the unit connects to our socket, receives the open log,
sends the exit code, and ends the unit when this process closes the connection.
"""

import json
import os
import pwd
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from host.deadline import Deadline
from host.errors import Refused
from host.files import safe_files
from host.files.file_lock import file_lock
from host.process import runner, shutdown, termination
from host.process.outcome import CapturedOutput, Outcome
from host.process.termination import MARK_VARIABLE
from host.process.users import DelegatedUser
from host.units import systemd_exec

# Made by tmpfiles.d: below /run, so that no job survives a reboot.
FOLDER = Path("/run/oroboros/jobs")
USER_PREFIX = "ouroboros-"
SHARED_ROLE = "job"  # the only user whose jobs may run at the same time
# Ends the name of a job that a person started: its unit has the sandbox of the backend.
ONE_OFF = "-command"
CONNECT_SECONDS = 30.0
POLL_SECONDS = 0.1
SYSTEMCTL_SECONDS = 330.0  # above the longest stop_timeout of a process
# Longer than systemd waits at a shutdown before it kills us.
SHUTDOWN_SECONDS = 180.0
# systemctl(1): refused while a stop of the unit is queued, which it would cancel by default. Who
# stops all units stops the worker too, but perhaps later.
START_OPTIONS = ("--job-mode=fail",)


class JobInterrupted(Refused):
    """The job's unit was stopped or killed, by the system or a person: nothing failed."""

    def __init__(self, unit: str) -> None:
        super().__init__(
            "job_interrupted",
            f"{unit} was stopped before its command had ended: journalctl -u {unit}",
        )


@dataclass(frozen=True)
class JobUser(DelegatedUser):
    """A user of this host as whom systemd runs our jobs; `role` is its name after ouroboros-.

    `is_one_off`: its job is a command that a person started, beside the user's other jobs.
    """

    role: str = SHARED_ROLE
    is_one_off: bool = False

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
        """Run the command with `streams` as its input and its output and wait for it.

        Raises Refused `job_refused` if systemd does not start it, `command_runs` if another
        command of that user's that a person started is running, and JobInterrupted if its unit is
        ended from outside and `stop` does not say that we are to stop as well.
        """
        begun, deadline = time.monotonic(), Deadline(timeout)
        exit_code = None
        with _reserve_instance(self, deadline, stop) as name:
            if name is not None:
                exit_code = _Job(self, name).run(argv, cwd, streams, env, deadline, stop)
        timed_out = exit_code is None and deadline.has_passed
        stopped = exit_code is None and not timed_out
        return Outcome(exit_code, time.monotonic() - begun, timed_out=timed_out, stopped=stopped)

    def kill_all(self) -> bool:
        """End every job of this user; returns whether all have ended."""
        ended = [_stop(name) for name in _list_jobs() if _get_role(name) == self.role]
        return all(ended)


def find_user(role: str) -> JobUser | None:
    """Return the host's user of that role; None if this host has none."""
    try:
        entry = pwd.getpwnam(USER_PREFIX + role)
    except KeyError:
        return None
    return JobUser(entry.pw_uid, entry.pw_gid, role)


def find_user_by_uid(uid: int) -> JobUser | None:
    """Return the user of ours with that uid; None if it is not one of ours."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
    return find_user(name.removeprefix(USER_PREFIX)) if name.startswith(USER_PREFIX) else None


def kill_marked(mark: str) -> bool:
    """End every process and every job with that mark; returns whether all have ended."""
    ended = [_stop(name) for name in _list_jobs() if _read_mark(name) == mark]
    return termination.kill_marked(mark) and all(ended)


def run_systemctl(*words: str) -> CapturedOutput:
    """Run systemctl, which does not prompt for a password.

    While the host shuts down systemd refuses new jobs. That must not count as a failure of the
    run: this process then waits until it is killed, and the run continues after the boot.
    """
    argv = ["systemctl", "--no-ask-password", *words]
    done = runner.capture(argv, timeout=SYSTEMCTL_SECONDS)
    if done.exit_code != 0 and _is_shutting_down():
        time.sleep(SHUTDOWN_SECONDS)
    return done


def _is_shutting_down() -> bool:
    state = runner.capture(["systemctl", "is-system-running"], timeout=SYSTEMCTL_SECONDS)
    # "Failed to connect to bus": systemd has closed its socket already.
    return state.stdout.strip() == b"stopping" or b"connect to bus" in state.stderr


@contextmanager
def _reserve_instance(
    user: JobUser, deadline: Deadline, stop: Callable[[], bool] | None
) -> Iterator[str | None]:
    """Yield a free instance name for one job; None if none was free in time, or `stop` was true."""
    if user.role == SHARED_ROLE:
        yield f"{SHARED_ROLE}-{os.urandom(6).hex()}"
        return
    if user.is_one_off:
        name = f"{user.role}{ONE_OFF}"
        detail = f"Another command runs as {user.role}: end it first ({unit_name(name)})."
        with file_lock(FOLDER / f"{name}.lock", seconds=0, refusal=Refused("command_runs", detail)):
            yield name
        return
    lock = FOLDER / f"{user.role}.lock"
    with file_lock(lock, seconds=deadline.seconds_left, stop=stop) as is_taken:
        yield user.role if is_taken else None


@dataclass(frozen=True)
class _Job:
    """One job under the name of its unit's instance."""

    user: JobUser
    name: str

    def run(
        self,
        argv: Sequence[str],
        cwd: Path,
        streams: tuple[IO[bytes], IO[bytes]],
        env: Mapping[str, str],
        deadline: Deadline,
        stop: Callable[[], bool] | None,
    ) -> int | None:
        """Run it and return its exit code; None if the deadline passed or `stop` was true."""
        _stop(self.name)  # a job of that name whose worker was killed
        spec = {"argv": list(argv), "cwd": str(cwd), "env": dict(env), "socket": str(self._socket)}
        try:
            with self._listen() as listener:
                safe_files.write_atomic(_file(self.name), json.dumps(spec).encode(), 0o600)
                _start(self.name)
                with self._accept(listener) as channel:
                    socket.send_fds(channel, [b"."], [stream.fileno() for stream in streams])
                    return self._wait(channel, deadline, stop)
        finally:
            _stop(self.name)
            self._socket.unlink(missing_ok=True)

    @property
    def _socket(self) -> Path:
        return FOLDER / f"{self.name}.sock"

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        self._socket.unlink(missing_ok=True)
        listener.bind(str(self._socket))
        # The job's user connects through its group; no other user can.
        os.chown(self._socket, -1, self.user.gid)
        self._socket.chmod(0o660)
        listener.listen()
        listener.settimeout(CONNECT_SECONDS)
        return listener

    def _accept(self, listener: socket.socket) -> socket.socket:
        """Wait for the unit's main process to connect; other jobs of the user may do so too."""
        while True:
            try:
                channel, _ = listener.accept()
            except TimeoutError:
                detail = (
                    f"{unit_name(self.name)} did not start: journalctl -u {unit_name(self.name)}"
                )
                raise Refused("job_refused", detail) from None
            # struct ucred: pid, uid, gid (unix(7))
            pid = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4]
            if int.from_bytes(pid, "little") == _read_main_pid(self.name):
                return channel
            channel.close()

    def _wait(
        self, channel: socket.socket, deadline: Deadline, stop: Callable[[], bool] | None
    ) -> int | None:
        """Wait for the exit code; None if we are to stop. Raises JobInterrupted."""
        while not select.select([channel], [], [], POLL_SECONDS)[0]:
            if deadline.has_passed or (stop is not None and stop()):
                return None
        message = channel.recv(16)
        # Nothing: the unit's main process was killed.
        if message in (b"", systemd_exec.STOPPED):
            if shutdown.wait_for_notice() or (stop is not None and stop()):
                return None
            raise JobInterrupted(unit_name(self.name))
        return int(message)


def unit_name(name: str) -> str:
    """Return the unit of a job."""
    return f"ouroboros-job@{name}.service"


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _list_jobs() -> list[str]:
    """Return the jobs that were started and that we have not ended."""
    return [path.stem for path in FOLDER.glob("*.json")]


def _get_role(name: str) -> str:
    return SHARED_ROLE if name.startswith(f"{SHARED_ROLE}-") else name.removesuffix(ONE_OFF)


def _read_mark(name: str) -> str:
    try:
        return str(json.loads(_file(name).read_text())["env"].get(MARK_VARIABLE, ""))
    except FileNotFoundError:  # it has just ended
        return ""


def _start(name: str) -> None:
    done = run_systemctl("start", *START_OPTIONS, "--", unit_name(name))
    if done.exit_code != 0:
        raise Refused("job_refused", done.stderr.decode(errors="replace").strip())


def _stop(name: str) -> bool:
    """End the job's unit with all its processes, and delete its file."""
    has_ended = run_systemctl("stop", "--", unit_name(name)).exit_code == 0
    if has_ended:
        _file(name).unlink(missing_ok=True)
    return has_ended


def _read_main_pid(name: str) -> int:
    argv = ["show", "--property", "MainPID", "--value", "--", unit_name(name)]
    return int(run_systemctl(*argv).stdout or b"0")
