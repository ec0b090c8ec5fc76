"""Commands as another user where we are not root: as jobs of systemd, one unit each.

The installed template `ouroboros-job@` runs as the jobs' user, and under fixed instance names as a
slot's or production's. What to run lies in a file that systemd hands to the unit as a credential.
The launcher in the unit (`host.units.systemd_exec`) comes to our socket; it is handed the open log,
tells how the command ended, and ends with all of its unit as soon as we are gone.
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

from host.errors import Refused
from host.files import file_lock, safe_files
from host.process import runner
from host.process.runner import MARK, Captured, Elsewhere, Outcome

FOLDER = Path("/run/oroboros/jobs")
NAMES = "ouroboros-"
SHARED = "job"  # the one user whose jobs may run at the same time
ARRIVE_SECONDS = 30.0
TICK_SECONDS = 0.1
SYSTEMD_SECONDS = 120.0
# Longer than systemd leaves us before it kills us.
DOWN_SECONDS = 180.0


@dataclass(frozen=True)
class JobUser(Elsewhere):
    """A user of this host as whom systemd runs our jobs; `role` is its name after ouroboros-."""

    role: str = SHARED

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

        Raises Refused `job_refused` if systemd does not start it.
        """
        begun = time.monotonic()
        deadline = begun + timeout
        with _instance(self, deadline, stop) as name:
            if name is None:
                over = time.monotonic() >= deadline
                return Outcome(None, time.monotonic() - begun, timed_out=over, stopped=not over)
            code = _Job(self, name).run(argv, cwd, streams, env, deadline, stop)
        seconds = time.monotonic() - begun
        over = code is None and time.monotonic() >= deadline
        return Outcome(code, seconds, timed_out=over, stopped=code is None and not over)

    def kill_all(self) -> bool:
        """End every job of this user; returns whether all are gone."""
        ended = [_stop(name) for name in _names() if _role(name) == self.role]
        return all(ended)


def known(role: str) -> JobUser | None:
    """Return the host's user of that role; None if it was not made here."""
    try:
        entry = pwd.getpwnam(NAMES + role)
    except KeyError:
        return None
    return JobUser(entry.pw_uid, entry.pw_gid, role)


def owner(uid: int) -> JobUser | None:
    """Return the user of ours with that number; None if it is none of ours."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
    return known(name.removeprefix(NAMES)) if name.startswith(NAMES) else None


def kill_marked(mark: str) -> bool:
    """End every process and every job that carries that mark; returns whether all are gone."""
    ended = [_stop(name) for name in _names() if _mark(name) == mark]
    return runner.kill_marked(mark) and all(ended)


def systemctl(*words: str) -> Captured:
    """Ask systemd; it never asks back for a password.

    While the host goes down it refuses what it would do else. That is nobody's failure: then we
    wait for our own end, and whoever works after the boot goes on.
    """
    argv = ["systemctl", "--no-ask-password", *words]
    done = runner.capture(argv, timeout=SYSTEMD_SECONDS)
    if done.exit_code != 0 and _goes_down():
        time.sleep(DOWN_SECONDS)
    return done


def _goes_down() -> bool:
    said = runner.capture(["systemctl", "is-system-running"], timeout=SYSTEMD_SECONDS)
    return said.stdout.strip() == b"stopping" or b"connect to bus" in said.stderr


@contextmanager
def _instance(
    user: JobUser, deadline: float, stop: Callable[[], bool] | None
) -> Iterator[str | None]:
    """Hold the name of a unit for one job; None if it was not free in time or `stop` said so."""
    if user.role == SHARED:
        yield f"{SHARED}-{os.urandom(6).hex()}"
        return
    lock = FOLDER / f"{user.role}.lock"
    with file_lock.held(lock, seconds=deadline - time.monotonic(), stop=stop) as taken:
        yield user.role if taken else None


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
        deadline: float,
        stop: Callable[[], bool] | None,
    ) -> int | None:
        """Run it; None if its time was over or `stop` said so."""
        _stop(self.name)  # what a killed predecessor left under this name
        told = {"argv": list(argv), "cwd": str(cwd), "env": dict(env), "socket": str(self._socket)}
        try:
            with self._listening() as listener:
                safe_files.write_atomic(_file(self.name), json.dumps(told).encode(), 0o600)
                _start(self.name)
                with self._arrived(listener) as channel:
                    socket.send_fds(channel, [b"."], [stream.fileno() for stream in streams])
                    return self._ended(channel, deadline, stop)
        finally:
            _stop(self.name)
            self._socket.unlink(missing_ok=True)

    @property
    def _socket(self) -> Path:
        return FOLDER / f"{self.name}.sock"

    def _listening(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        self._socket.unlink(missing_ok=True)
        listener.bind(str(self._socket))
        os.chown(self._socket, -1, self.user.gid)
        self._socket.chmod(0o660)
        listener.listen()
        listener.settimeout(ARRIVE_SECONDS)
        return listener

    def _arrived(self, listener: socket.socket) -> socket.socket:
        """Wait for the unit's own launcher: another job of the same user may come first."""
        while True:
            try:
                channel, _ = listener.accept()
            except TimeoutError:
                detail = f"{unit(self.name)} did not start: journalctl -u {unit(self.name)}"
                raise Refused("job_refused", detail) from None
            pid = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4]
            if int.from_bytes(pid, "little") == _main_pid(self.name):
                return channel
            channel.close()

    def _ended(
        self, channel: socket.socket, deadline: float, stop: Callable[[], bool] | None
    ) -> int | None:
        """Wait for how the command ended; a launcher that was killed counts as killed."""
        while not select.select([channel], [], [], TICK_SECONDS)[0]:
            if time.monotonic() >= deadline or (stop is not None and stop()):
                return None
        said = channel.recv(16)
        return int(said) if said else -9


def unit(name: str) -> str:
    """Return the unit of a job."""
    return f"ouroboros-job@{name}.service"


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _names() -> list[str]:
    """Return the jobs that were started and not ended by us."""
    return [path.stem for path in FOLDER.glob("*.json")]


def _role(name: str) -> str:
    return SHARED if name.startswith(f"{SHARED}-") else name


def _mark(name: str) -> str:
    try:
        return str(json.loads(_file(name).read_text())["env"].get(MARK, ""))
    except FileNotFoundError:  # it has just ended
        return ""


def _start(name: str) -> None:
    done = systemctl("start", "--", unit(name))
    if done.exit_code != 0:
        raise Refused("job_refused", done.stderr.decode(errors="replace").strip())


def _stop(name: str) -> bool:
    """End the job's unit with all its processes, and forget what it was told."""
    gone = systemctl("stop", "--", unit(name)).exit_code == 0
    if gone:
        _file(name).unlink(missing_ok=True)
    return gone


def _main_pid(name: str) -> int:
    shown = systemctl("show", "--property", "MainPID", "--value", "--", unit(name))
    return int(shown.stdout or b"0")
