"""What a long-running unit is, what a look at it finds, and what both managers share."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from host.config import Config
from host.errors import Refused
from host.files import file_lock, safe_files
from host.process import process_table, socket_owner
from host.process.runner import User

# A start is believed when the unit listens, or (without a port) has lived so long.
SETTLE_SECONDS = 1.0
LOCK_SECONDS = 30.0
LOOK_SECONDS = 0.01
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
class Kept:
    """Where a manager keeps its units' files: `var/run/<unit>.json`."""

    config: Config

    @property
    def folder(self) -> Path:
        return self.config.var / "run"

    def names(self) -> list[str]:
        """Return the units that were started and not stopped, dead or alive."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the unit's lock: one start or stop at a time, over all processes.

    Raises Refused `unit_busy` when it is not free in time.
    """
    with file_lock.held(folder / f"{name}.lock", seconds=LOCK_SECONDS) as taken:
        if not taken:
            detail = f"Another start or stop of {name} is under way; try again."
            raise Refused("unit_busy", detail)
        yield


def refuse_another(unit: Unit, digest: str) -> None:
    """Raise Refused `unit_differs` if what runs under the unit's name was started as another."""
    if digest != unit.digest:
        raise Refused("unit_differs", f"{unit.name} runs another command; stop it first.")


def refuse_taken_port(unit: Unit) -> None:
    """Raise Refused `port_taken` if anybody listens on the unit's port."""
    listening, holder = who_listens(unit.port, lambda _: False)
    if listening != "none":
        raise Refused("port_taken", f"Port {unit.port} of {unit.name} is held by {holder}.")


def settled(unit: Unit, look: Callable[[], Status]) -> Status:
    """Wait until a unit that was just started listens, or has lived a moment.

    Raises Refused `unit_crashed` with its last words if it ends.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while (status := look()).active and time.monotonic() < deadline:
        if status.listening == "ours":
            return status
        time.sleep(LOOK_SECONDS)
    if not status.active:
        raise Refused("unit_crashed", f"{unit.name} {status.last_words}")
    return status


def who_listens(
    port: int | None, is_ours: Callable[[socket_owner.Socket], bool]
) -> tuple[Listening, str]:
    """Say who listens on the port: the unit alone, once an address; or who else."""
    found = socket_owner.listeners(port) if port is not None else []
    for one in found:
        if not is_ours(one):
            return "foreign", _holder(one)
    if len({one.address for one in found}) < len(found):
        return "foreign", "several of its own sockets at once"
    return ("ours" if found else "none"), ""


def last_words(log: Path, since: int, code: int | None) -> str:
    """Say how a unit ended, with the last lines it logged in this life."""
    how = "ended" if code is None else f"ended with exit code {code}"
    lines = safe_files.read_tail(log, LAST_LINES, since=since)
    return f"{how}. Last lines of {log}:\n{lines}" if lines else f"{how} and logged nothing."


def _holder(one: socket_owner.Socket) -> str:
    pids = socket_owner.holders(one.inode)
    return process_table.describe(pids[0]) if pids else f"a process of uid {one.uid}"
