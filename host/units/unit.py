"""A unit (a long-running process with a name), its status, and the checks both managers share."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from host import log_message
from host.config import Config
from host.deadline import Deadline, Probing
from host.errors import Refused
from host.files import safe_files
from host.files.file_lock import file_lock
from host.process.outcome import describe_exit, is_killed
from host.process.socket_owner import Socket
from host.process.users import User
from host.units.listeners import Listening, find_listener, wait_for_closed_connections

# A start succeeds when the unit listens, or has not ended after so long (also without a port).
SETTLE_SECONDS = 1.0
IN_USE = re.compile(r"address already in use|\bEADDRINUSE\b", re.I)
LOCK_SECONDS = 30.0  # above the longest stop of a unit with a port: 20 s, then 5 s for SIGKILL
STOP_SECONDS = 10.0
T = TypeVar("T")


class ProcessKilled(Exception):
    """SIGKILL ended a process while it started: the system's, or a person's."""


class UnitKilled(ProcessKilled, Refused):
    """A unit did not start because SIGKILL ended it."""


def refuse_end(code: str, detail: str, *, was_killed: bool) -> Refused:
    """Return the Refused, or UnitKilled, for a unit that did not start."""
    return (UnitKilled if was_killed else Refused)(code, detail)


class UnitDiffers(Refused):
    """Another command runs under the unit's name."""

    def __init__(self, name: str) -> None:
        super().__init__("unit_differs", f"{name} runs another command; stop it first.")


@dataclass(frozen=True)
class HealthCheck:
    """How a unit is probed: a GET of `path` on its port.

    `host` is the Host header, as browsers send it: with the port of the visitors' address, if that
    has one. Without it the request is for 127.0.0.1 and the unit's port.

    The path of a guess need only answer below 500; one that an application states answers 2xx.
    `is_https`: visitors come over https, so the request says so as the proxy in front does.
    """

    path: str = "/health"
    is_guess: bool = False
    host: str = ""
    is_https: bool = False

    @classmethod
    def for_server(cls, path: str, host: str, *, is_https: bool) -> "HealthCheck":
        """Return the check of a server beside `web`: without a path / is a guess."""
        return cls(path or "/", not path, host, is_https)

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers besides Host; an address too, without which daphne reads none."""
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}
        return forwarded if self.is_https else {}

    def accepts(self, status: int) -> bool:
        """Return whether an answer with that status is healthy."""
        return 200 <= status < (500 if self.is_guess else 300)


@dataclass(frozen=True)
class Unit:
    """A process to keep running. `env` is its complete environment; without `port` it has none.

    A difference in the variables of `ignored_env` alone makes no other unit of it.
    With `has_log_writer` its output is a pipe, which it may open again as /dev/stdout with `>`.
    With `ends_its_children` a stop sends SIGTERM to the process alone (systemd's KillMode=mixed).
    `stop_timeout` is in seconds: so long it may take to end after SIGTERM, unless the stop says
    another time. A start returns after `settle_seconds` (default: SETTLE_SECONDS) if the unit does
    not listen by then. With `keeps_end` a start that finds it ended keeps how: it may have ended a
    moment ago, and who reports ends has not seen it.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    user: User | None
    log: Path
    port: int | None = None
    health: HealthCheck = HealthCheck()
    ends_its_children: bool = False
    has_log_writer: bool = False
    ignored_env: frozenset[str] = frozenset()
    stop_timeout: float = STOP_SECONDS
    settle_seconds: float | None = None
    keeps_end: bool = False

    @property
    def digest(self) -> str:
        """A hash of command, environment and port: it tells two units of one name apart."""
        # A hash, because the environment holds secrets and the digest is written to a file.
        env = sorted(item for item in self.env.items() if item[0] not in self.ignored_env)
        parts = [self.argv, str(self.cwd), env, self.port]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class UnitStatus:
    """What a probe of a unit found. `start_time` is in seconds since boot.

    `listening` says who listens on its port, and `port_holder` describes a foreign listener.
    `was_running` is set by a start that found the unit running. `exit_code` is known only to the
    process that started the unit. `failure` completes a sentence about a unit that ended by
    itself: how it ended, and its last log lines. `restarts` counts how often systemd has started it
    again since our start.
    """

    is_active: bool
    pid: int | None
    start_time: float | None
    exit_code: int | None
    listening: Listening
    was_running: bool = False
    port_holder: str = ""
    failure: str = ""
    restarts: int = 0

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it, as far as this process knows: see `exit_code`."""
        return not self.is_active and is_killed(self.exit_code)


class UnitManager(Protocol):
    """What both managers can do."""

    def start(self, unit: Unit) -> UnitStatus: ...
    def stop(self, name: str, grace: float | None = None) -> bool: ...
    def status(self, name: str, port: int | None = None) -> UnitStatus: ...
    def list_listeners(self, name: str) -> list[Socket]: ...
    def list_unix_listeners(self, name: str) -> list[str]: ...
    def list_names(self) -> list[str]: ...
    def find_ended(self, names: Iterable[str]) -> list[str]: ...
    def find_file(self, name: str) -> Path: ...
    def find_kept_end(self, name: str) -> Path: ...
    def read_kept_end(self, name: str) -> UnitStatus | None: ...
    def read_digest(self, name: str) -> str: ...


@dataclass(frozen=True)
class UnitFiles:
    """The files of a manager's units: `var/run/<unit>.json`."""

    config: Config

    @property
    def folder(self) -> Path:
        return self.config.var / "run"

    def list_names(self) -> list[str]:
        """Return the units that were started and not stopped, running or ended."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def read_digest(self, name: str) -> str:
        """Return the digest of the unit that was last started under that name; "" if none was."""
        try:
            return str(json.loads(self.find_file(name).read_text())["digest"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return ""

    def find_file(self, name: str) -> Path:
        """Return the unit's file: written by each start, removed by a stop."""
        return self.folder / f"{name}.json"

    def find_kept_end(self, name: str) -> Path:
        """Return the file with the end that a start found; a stop, or its report, removes it."""
        return self.folder / f"{name}.ended"

    def keep_end(self, unit: Unit, status: UnitStatus) -> None:
        """Keep the end of a unit that was started, not stopped, and is started again now."""
        if self.find_file(unit.name).exists() and status.start_time is not None:
            text = json.dumps({"start_time": status.start_time, "failure": status.failure})
            path = self.find_kept_end(unit.name)
            safe_files.write_atomic(path, text.encode(), 0o600, survives_reboot=False)

    def read_kept_end(self, name: str) -> UnitStatus | None:
        """Return the status that the unit had when a start found it ended; None if none did."""
        try:
            found = json.loads(self.find_kept_end(name).read_text())
            return UnitStatus(
                False, None, found["start_time"], None, "none", failure=found["failure"]
            )
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None


def start_again_if_killed(start: Callable[[], T], report: Callable[[str], None]) -> T:
    """Return what `start` returns; if it raises ProcessKilled, report that and call it once more.

    The end says nothing about the application then: a run is not to fail because of it.
    """
    try:
        return start()
    except ProcessKilled as killed:
        report(f"{killed}\nIt is started once more.")
        return start()


def start_or_replace(
    manager: UnitManager, unit: Unit, grace: float, stop: Callable[[], bool] | None = None
) -> UnitStatus:
    """Start the unit. If another command runs under its name, stop that first.

    Raises Refused as `start_unit` does.
    """
    try:
        return start_unit(manager, unit, stop)
    except UnitDiffers:
        manager.stop(unit.name, grace)
        return start_unit(manager, unit, stop)


def start_unit(
    manager: UnitManager, unit: Unit, stop: Callable[[], bool] | None = None
) -> UnitStatus:
    """Start the unit; a second time if closed connections may have refused its port to it.

    Raises Refused as the manager's `start` does.
    """
    try:
        return manager.start(unit)
    except Refused as refused:
        is_refused_port = refused.code == "unit_crashed" and IN_USE.search(refused.detail)
        if not is_refused_port or unit.port is None:
            raise
        if not wait_for_closed_connections(unit.port, stop):
            raise
        return manager.start(unit)


def stop_together(manager: UnitManager, names: Collection[str], grace: float | None = None) -> bool:
    """Stop the units at the same time; True if all have ended.

    Each has `grace` seconds after SIGTERM, by default its own `stop_timeout`.
    """
    stop = manager.stop if grace is None else partial(manager.stop, grace=grace)
    if len(names) <= 1:
        return all(map(stop, names))
    # Only here: the command that restarts one backend starts sooner without this import.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(names)) as pool:
        return all(pool.map(stop, names))


def unit_lock(folder: Path, name: str) -> AbstractContextManager[bool]:
    """Hold the unit's lock: one start or stop at a time, over all processes.

    Raises Refused `unit_busy` if it is not free within LOCK_SECONDS.
    """
    refusal = Refused("unit_busy", f"Another start or stop of {name} is under way; try again.")
    return file_lock(find_lock(folder, name), seconds=LOCK_SECONDS, refusal=refusal)


def find_lock(folder: Path, name: str) -> Path:
    """Return the file of the lock that each start and stop of the unit holds."""
    return folder / f"{name}.lock"


def require_same_digest(unit: Unit, digest: str) -> None:
    """Raise Refused `unit_differs` if the running unit of that name has another digest."""
    if digest != unit.digest:
        raise UnitDiffers(unit.name)


def require_free_port(unit: Unit) -> None:
    """Raise Refused `port_taken` if any process listens on the unit's port."""
    listening, holder = find_listener(unit.port, lambda _: False)
    if listening != "none":
        raise Refused("port_taken", f"Port {unit.port} of {unit.name} is held by {holder}.")


def wait_until_settled(unit: Unit, get_status: Callable[[], UnitStatus]) -> UnitStatus:
    """Wait until a unit that was just started listens, or its `settle_seconds` have passed.

    Raises Refused `unit_crashed` with its last log lines if it ends.
    """
    seconds = SETTLE_SECONDS if unit.settle_seconds is None else unit.settle_seconds
    deadline, probing = Deadline(seconds), Probing()
    while (status := get_status()).is_active and status.listening != "ours":
        if deadline.has_passed:
            break
        probing.pause()
    if not status.is_active:
        detail = f"{unit.name} {status.failure}"
        raise refuse_end("unit_crashed", detail, was_killed=status.was_killed)
    return status


def describe_end(log: Path, since: int, exit_code: int | None, background: str) -> str:
    """Return how a unit ended, with what `log` says after the byte `since`.

    `background` is "" or a sentence about processes that it left.
    """
    how = "ended" if exit_code is None else describe_exit(exit_code)
    message = log_message.read_message(log, since)
    sentence = f"{how}." if message else f"{how} and logged nothing."
    sentence = f"{sentence} {background}".rstrip()
    return f"{sentence} {log} says:\n{message}" if message else sentence
