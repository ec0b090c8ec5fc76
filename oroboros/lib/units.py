"""Long-running processes with a name: started, stopped and looked at the same way everywhere.

`LocalManager` keeps them itself: a file in `var/run` says who they are, enough to find them after
whoever started them is gone. Status is probed, never remembered.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from oroboros.errors import Refused
from oroboros.lib import files, logs, netowner, process, proctable, web
from oroboros.lib.config import Config
from oroboros.lib.process import Identity, User

# A start is believed when the unit listens, or (without a port) has lived so long.
SETTLE_SECONDS = 1.0
LOCK_SECONDS = 30.0
LOOK_SECONDS = 0.05
LAST_LINES = 20

Listening = Literal["ours", "foreign", "none"]


@dataclass(frozen=True)
class Unit:
    """What to keep running. `env` is its complete environment; without `port` it serves nothing."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    user: User | None
    log: Path
    port: int | None = None
    health_path: str = "/health"

    @property
    def digest(self) -> str:
        """What tells this unit from another of the same name, without telling its secrets."""
        says = [self.argv, str(self.cwd), sorted(self.env.items()), self.port]
        return hashlib.sha256(json.dumps(says).encode()).hexdigest()


@dataclass(frozen=True)
class Status:
    """What a look at a unit found. `started` is in seconds since boot.

    `already` after a start: it ran before, this start did nothing. `exit_code` is known only to
    the process that started the unit. `listening`: who holds its port; `holder` names a stranger.
    `last_words`: of a unit that ended by itself, how, and the last lines it logged.
    """

    active: bool
    pid: int | None
    started: float | None
    exit_code: int | None
    listening: Listening
    already: bool = False
    holder: str = ""
    last_words: str = ""


class Manager(Protocol):
    """What both adapters can do."""

    def start(self, unit: Unit) -> Status: ...
    def stop(self, name: str, grace: float = 10) -> bool: ...
    def status(self, name: str, port: int | None = None) -> Status: ...
    def names(self) -> list[str]: ...


@dataclass(frozen=True)
class _State:
    """The unit's file: written before the start (pid 0, only the mark is known) and after it."""

    identity: Identity
    boot: str
    port: int | None
    digest: str
    log: str
    log_start: int


@dataclass(frozen=True)
class LocalManager:
    """Units as processes of ours, each in its own session."""

    config: Config
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.config.var / "run")

    def start(self, unit: Unit) -> Status:
        """Start the unit, unless it runs already (`already`). What an earlier life left is ended.

        Raises Refused `unit_differs` if another command runs under that name, `port_taken` if
        its port has a listener, `unit_crashed` with the last lines of its log if it ends at
        once, `unit_busy` if another start or stop takes too long.
        """
        with self._locked(unit.name):
            state = self._read(unit.name)
            if state is not None and process.alive(state.identity):
                return self._running(unit, state)
            if state is not None:
                process.stop(state.identity, grace=0)
            self._check_port(unit)
            state = self._spawn(unit)
            return self._settled(unit, state)

    def stop(self, name: str, grace: float = 10) -> bool:
        """Stop the unit with all of its family, if it runs; returns whether all are gone."""
        with self._locked(name):
            state = self._read(name)
            if state is None:
                return True
            gone = process.stop(state.identity, grace=grace)
            if gone:
                self._file(name).unlink(missing_ok=True)
            return gone

    def status(self, name: str, port: int | None = None) -> Status:
        """Look at the unit; `port` is looked at too where the unit was never started."""
        state = self._read(name)
        if state is None:
            listening, holder = _listening(port, set())
            return Status(False, None, None, None, listening, holder=holder)
        return _status(state)

    def names(self) -> list[str]:
        """Return the units that were started and not stopped, dead or alive."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def _running(self, unit: Unit, state: _State) -> Status:
        if state.digest != unit.digest:
            detail = f"{unit.name} runs another command; stop it first."
            raise Refused("unit_differs", detail)
        return replace(_status(state), already=True)

    def _check_port(self, unit: Unit) -> None:
        listening, holder = _listening(unit.port, set())
        if listening != "none":
            raise Refused("port_taken", f"Port {unit.port} of {unit.name} is held by {holder}.")

    def _spawn(self, unit: Unit) -> _State:
        logs.rotate(unit.log)
        log_start = unit.log.stat().st_size if unit.log.exists() else 0
        nobody = Identity(0, 0.0, os.urandom(8).hex())
        state = _State(nobody, proctable.boot(), unit.port, unit.digest, str(unit.log), log_start)
        self._write(unit.name, state)  # if we die before the next write, the mark finds it
        try:
            identity = process.spawn(
                unit.argv,
                cwd=unit.cwd,
                env=unit.env,
                user=unit.user,
                log=unit.log,
                mark=nobody.mark,
            )
        except OSError as error:
            self._file(unit.name).unlink()
            raise Refused("unit_crashed", f"{unit.name} cannot be started: {error}.") from error
        state = replace(state, identity=identity)
        self._write(unit.name, state)
        return state

    def _settled(self, unit: Unit, state: _State) -> Status:
        """Wait until the unit listens or has lived a moment."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (status := _status(state)).active and time.monotonic() < deadline:
            if status.listening == "ours":
                return status
            time.sleep(LOOK_SECONDS)
        if not status.active:
            process.stop(state.identity, grace=0)  # what it forked before it ended
            raise Refused("unit_crashed", f"{unit.name} {status.last_words}")
        return status

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold the unit's lock: one start or stop at a time, over all processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + LOCK_SECONDS
        with (self.folder / f"{name}.lock").open("ab") as lock:
            while not _lock(lock.fileno()):
                if time.monotonic() > deadline:
                    detail = f"Another start or stop of {name} is under way; try again."
                    raise Refused("unit_busy", detail)
                time.sleep(LOOK_SECONDS)
            yield

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _write(self, name: str, state: _State) -> None:
        text = json.dumps(asdict(state), indent=1) + "\n"
        files.write_atomic(self._file(name), text.encode(), 0o600)

    def _read(self, name: str) -> _State | None:
        """Return who the unit is; None if it was not started, or not since this boot."""
        try:
            raw = json.loads(self._file(name).read_text())
            state = _State(**{**raw, "identity": Identity(**raw["identity"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None  # absent, or not written by us: then it names nobody
        return state if state.boot == proctable.boot() else None


@dataclass(frozen=True)
class Health:
    """Whether a unit does its job, why not in a sentence, and what its health path said."""

    ok: bool
    reason: str
    body: bytes = b""


def probe(
    status: Status, port: int, path: str, timeout: float = 5.0, host: str = "127.0.0.1"
) -> Health:
    """Say whether the unit is healthy: it runs, it alone listens on the port, `path` answers 2xx.

    `host` is what the Host header says. Bounded by `timeout` seconds and 64 KiB.
    """
    if not status.active:
        return Health(False, f"It {status.last_words or 'does not run.'}")
    if status.listening == "foreign":
        return Health(False, f"Port {port} is held by {status.holder}, not by this unit.")
    if status.listening == "none":
        return Health(False, f"It does not listen on port {port}.")
    try:
        answer = web.get(port, path, host=host, seconds=timeout)
    except TimeoutError:
        return Health(False, f"{path} did not answer within {timeout:.0f} s.")
    except (OSError, ValueError) as error:
        return Health(False, f"{path} did not answer: {error}.")
    if not 200 <= answer.status < 300:
        return Health(False, f"{path} answered {answer.status}.", answer.body)
    return Health(True, f"{path} answered {answer.status}.", answer.body)


def wait_healthy(
    manager: Manager,
    unit: Unit,
    seconds: float,
    stop: Callable[[], bool] | None = None,
    host: str = "127.0.0.1",
) -> Health:
    """Probe a started unit until it is healthy, ends, or `seconds` are over; returns the last look.

    `stop` is asked between the probes.
    """
    if unit.port is None:
        raise ValueError(f"{unit.name} has no port to probe")
    deadline = time.monotonic() + seconds
    while True:
        status = manager.status(unit.name, unit.port)
        left = deadline - time.monotonic()
        health = probe(status, unit.port, unit.health_path, max(0.1, min(5.0, left)), host)
        over = left <= 0 or not status.active or (stop is not None and stop())
        if health.ok or over:
            return health
        time.sleep(LOOK_SECONDS)


def _status(state: _State) -> Status:
    active = process.alive(state.identity)
    code = process.exit_code(state.identity)
    listening, holder = _listening(state.port, process.family(state.identity))
    return Status(
        active,
        pid=state.identity.pid or None,
        started=state.identity.started or None,
        exit_code=code,
        listening=listening,
        holder=holder,
        last_words="" if active else _last_words(state, code),
    )


def _listening(port: int | None, pids: set[int]) -> tuple[Listening, str]:
    """Say who listens on the port: these processes alone, once an address, or who else."""
    found = netowner.listeners(port) if port is not None else []
    if not found:
        return "none", ""
    held = netowner.inodes(pids)
    for one in found:
        if one.inode not in held:
            return "foreign", _holder(one)
    if len({one.address for one in found}) < len(found):
        return "foreign", "several of its own sockets at once"
    return "ours", ""


def _holder(one: netowner.Socket) -> str:
    pids = netowner.holders(one.inode)
    return proctable.describe(pids[0]) if pids else f"a process of uid {one.uid}"


def _last_words(state: _State, code: int | None) -> str:
    how = "ended" if code is None else f"ended with exit code {code}"
    lines = files.read_tail(Path(state.log), LAST_LINES, since=state.log_start)
    return f"{how}. Last lines of {state.log}:\n{lines}" if lines else f"{how} and logged nothing."


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def manager(config: Config) -> Manager:
    """Return what keeps the units of this checkout."""
    return LocalManager(config)
