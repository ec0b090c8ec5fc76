"""Units kept by ourselves: a file in `var/run` says who they are.

It is enough to find them after whoever started them is gone.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from host.errors import Refused
from host.files import log_files, safe_files
from host.process import process_table, runner, socket_owner
from host.process.runner import Identity
from host.units.base import (
    Kept,
    Status,
    Unit,
    last_words,
    locked,
    refuse_another,
    refuse_taken_port,
    settled,
    who_listens,
)


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
class LocalManager(Kept):
    """Units as processes of ours, each in its own session."""

    def start(self, unit: Unit) -> Status:
        """Start the unit, unless it runs already (`already`). What an earlier life left is ended.

        Raises Refused `unit_differs` if another command runs under that name, `port_taken` if
        its port has a listener, `unit_crashed` with the last lines of its log if it ends at
        once, `unit_busy` if another start or stop takes too long.
        """
        with locked(self.folder, unit.name):
            state = self._read(unit.name)
            if state is not None and runner.alive(state.identity):
                refuse_another(unit, state.digest)
                return replace(_status(state), already=True)
            if state is not None:
                runner.stop(state.identity, grace=0)
            refuse_taken_port(unit)
            state = self._spawn(unit)
            try:
                return settled(unit, lambda: _status(state))
            except Refused:
                runner.stop(state.identity, grace=0)  # what it forked before it ended
                raise

    def stop(self, name: str, grace: float = 10) -> bool:
        """Stop the unit with all of its family, if it runs; returns whether all are gone."""
        with locked(self.folder, name):
            state = self._read(name)
            if state is None:
                return True
            gone = runner.stop(state.identity, grace=grace)
            if gone:
                self._file(name).unlink(missing_ok=True)
            return gone

    def status(self, name: str, port: int | None = None) -> Status:
        """Look at the unit; `port` is looked at too where the unit was never started."""
        state = self._read(name)
        if state is None:
            listening, holder = who_listens(port, lambda _: False)
            return Status(False, None, None, None, listening, holder=holder)
        return _status(state)

    def _spawn(self, unit: Unit) -> _State:
        log_files.rotate(unit.log)
        log_start = unit.log.stat().st_size if unit.log.exists() else 0
        nobody = Identity(0, 0.0, os.urandom(8).hex())
        state = _State(
            nobody, process_table.boot(), unit.port, unit.digest, str(unit.log), log_start
        )
        self._write(unit.name, state)  # if we die before the next write, the mark finds it
        try:
            identity = runner.spawn(
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

    def _write(self, name: str, state: _State) -> None:
        text = json.dumps(asdict(state), indent=1) + "\n"
        safe_files.write_atomic(self._file(name), text.encode(), 0o600, outlasts_boot=False)

    def _read(self, name: str) -> _State | None:
        """Return who the unit is; None if it was not started, or not since this boot."""
        try:
            raw = json.loads(self._file(name).read_text())
            state = _State(**{**raw, "identity": Identity(**raw["identity"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None  # absent, or not written by us: then it names nobody
        return state if state.boot == process_table.boot() else None


def _status(state: _State) -> Status:
    active = runner.alive(state.identity)
    code = runner.exit_code(state.identity)
    own = socket_owner.inodes([state.identity.pid]) if active else set()
    family = cache(lambda: socket_owner.inodes(runner.family(state.identity)))
    # The family is looked for in the whole process table: only where its first process has not all.
    listening, holder = who_listens(
        state.port, lambda one: one.inode in own or one.inode in family()
    )
    return Status(
        active,
        pid=state.identity.pid or None,
        started=state.identity.started or None,
        exit_code=code,
        listening=listening,
        holder=holder,
        last_words="" if active else last_words(Path(state.log), state.log_start, code),
    )
