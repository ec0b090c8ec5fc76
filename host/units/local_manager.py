"""Units as child processes, for hosts where systemd does not manage this checkout.

A file in `var/run` identifies each unit's process, so that any later process can find it.
"""

import json
import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from host.errors import Refused
from host.files import log_files, safe_files
from host.process import process_table, runner, socket_owner, termination
from host.process.log_writer import LAST_LINES_SECONDS
from host.process.process_id import ProcessId
from host.process.socket_owner import Socket
from host.units import foreign_listeners
from host.units.listeners import describe_background, find_listener, remove_closed_connections
from host.units.unit import (
    STOP_SECONDS,
    Unit,
    UnitFiles,
    UnitStatus,
    describe_end,
    require_free_port,
    require_same_digest,
    unit_lock,
    wait_until_settled,
)


@dataclass(frozen=True)
class _State:
    """The unit's file: written before the start (pid 0, only the mark is known) and after it."""

    process_id: ProcessId
    boot: str
    port: int | None
    digest: str
    log: str
    log_start: int
    # The defaults are for files of earlier versions.
    ends_its_children: bool = False
    log_writer: ProcessId | None = None
    stop_timeout: float = STOP_SECONDS


@dataclass(frozen=True)
class LocalManager(UnitFiles):
    """Manages units as processes with a session of their own."""

    def start(self, unit: Unit) -> UnitStatus:
        """Start the unit unless it runs (`was_running`), after ending its previous processes.

        Raises UnitDiffers if another command runs under that name, Refused `port_taken` if its
        port has a listener, `unit_crashed` with the message of its log if it ends at once, and
        `unit_busy` if another start or stop takes too long.
        """
        with unit_lock(self.folder, unit.name):
            state = self._read(unit.name)
            if state is not None and state.process_id.is_alive():
                require_same_digest(unit, state.digest)
                return replace(_probe(state), was_running=True)
            if state is not None and unit.keeps_end:
                self.keep_end(unit, _probe(state))
            return self._start_stopped(unit, state)

    def start_if_dead(self, unit: Unit) -> bool:
        """Start a unit that was started, not stopped, and died; returns whether it was so.

        Raises Refused as `start`.
        """
        with unit_lock(self.folder, unit.name):
            # Only under the lock, since a stop that is under way has ended the process too.
            state = self._read(unit.name)
            if state is None or state.process_id.is_alive():
                return False
            self._start_stopped(unit, state)
            return True

    def _start_stopped(self, unit: Unit, state: _State | None) -> UnitStatus:
        if state is not None:
            _end(state)
        foreign_listeners.clear_port(self.config, unit.port)
        if unit.port is not None and self.config.is_root:
            remove_closed_connections(unit.port)
        require_free_port(unit)
        started = self._spawn(unit)
        try:
            return wait_until_settled(unit, lambda: _probe(started))
        except Refused:
            _end(started)  # children that it forked before it ended
            raise

    def stop(self, name: str, grace: float | None = None) -> bool:
        """Stop the unit with its family, if it runs; returns whether all have ended.

        They have `grace` seconds after SIGTERM, by default the unit's `stop_timeout`.
        """
        with unit_lock(self.folder, name):
            state = self._read(name)
            if state is None:
                return True
            all_ended = _end(state, state.stop_timeout if grace is None else grace)
            if all_ended:
                self.find_file(name).unlink(missing_ok=True)
                self.find_kept_end(name).unlink(missing_ok=True)
            return all_ended

    def status(self, name: str, port: int | None = None) -> UnitStatus:
        """Probe the unit; `port` is the port to probe if the unit was never started."""
        state = self._read(name)
        if state is None:
            listening, holder = find_listener(port, lambda _: False)
            return UnitStatus(False, None, None, None, listening, port_holder=holder)
        return _probe(state)

    def find_ended(self, names: Iterable[str]) -> list[str]:
        """Return which of the units were started and do not run, or ended before that; quick."""
        states = {name: self._read(name) for name in names}
        return [
            name
            for name, one in states.items()
            if one and (not one.process_id.is_alive() or self.find_kept_end(name).exists())
        ]

    def list_listeners(self, name: str) -> list[Socket]:
        """Return the sockets on which the unit's processes listen, on any port."""
        state = self._read(name)
        return [] if state is None else _list_listeners(termination.find_family(state.process_id))

    def list_unix_listeners(self, name: str) -> list[str]:
        """Return the addresses of the Unix sockets on which the unit's processes listen."""
        state = self._read(name)
        pids = set() if state is None else termination.find_family(state.process_id)
        return socket_owner.list_unix_listeners(socket_owner.list_inodes(pids))

    def _spawn(self, unit: Unit) -> _State:
        log_files.rotate(unit.log)
        log_start = unit.log.stat().st_size if unit.log.exists() else 0
        planned = ProcessId(0, 0.0, os.urandom(8).hex())
        state = _State(
            planned,
            process_table.read_boot_id(),
            unit.port,
            unit.digest,
            str(unit.log),
            log_start,
            unit.ends_its_children,
            stop_timeout=unit.stop_timeout,
        )
        self._write(unit.name, state)  # after a crash before the next write, the mark finds it
        try:
            state = _start(unit, state)
        except OSError as error:
            self.find_file(unit.name).unlink()
            raise Refused("unit_crashed", f"{unit.name} cannot be started: {error}.") from error
        self._write(unit.name, state)
        return state

    def _write(self, name: str, state: _State) -> None:
        text = json.dumps(asdict(state), indent=1) + "\n"
        # Without fsync: after a reboot the file names no process any more.
        safe_files.write_atomic(self.find_file(name), text.encode(), 0o600, survives_reboot=False)

    def _read(self, name: str) -> _State | None:
        """Return the unit's state; None if it was not started since this boot."""
        try:
            raw = json.loads(self.find_file(name).read_text())
            state = _State(**{**raw, "process_id": ProcessId(**raw["process_id"])})
            if state.log_writer is not None:
                state = replace(state, log_writer=ProcessId(**raw["log_writer"]))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None  # absent, or not written by us: then it identifies no process of ours
        return state if state.boot == process_table.read_boot_id() else None


def _start(unit: Unit, state: _State) -> _State:
    """Start the unit's process, after its log's writer if it has one. Raises OSError."""
    with (
        nullcontext((None, None))
        if not unit.has_log_writer
        else runner.log_pipe(unit.log, unit.user) as (output, writer)
    ):
        process_id = runner.spawn(
            unit.argv,
            cwd=unit.cwd,
            env=unit.env,
            user=unit.user,
            log=unit.log,
            mark=state.process_id.mark,
            output=output,
        )
    return replace(state, process_id=process_id, log_writer=writer)


def _end(state: _State, grace: float = 0) -> bool:
    """End the unit's family, then its log's writer; returns whether the family has ended."""
    leader_only = state.ends_its_children
    all_ended = runner.stop(state.process_id, grace=grace, leader_only=leader_only)
    if all_ended and state.log_writer is not None:
        # It ends by itself, unless a process that left the family has the pipe open.
        _wait_for_log(state)
        runner.stop(state.log_writer, grace=0)
    return all_ended


def _wait_for_log(state: _State) -> None:
    """Wait until the last lines of a unit that has ended are in its log."""
    if state.log_writer is not None and state.log_writer.is_alive():
        termination.wait_for_end(state.log_writer.pid, LAST_LINES_SECONDS)


def _probe(state: _State) -> UnitStatus:
    process_id = state.process_id
    is_active = process_id.is_alive()
    exit_code = runner.get_exit_code(process_id)
    own = socket_owner.list_inodes([process_id.pid]) if is_active else set()
    # Reading the whole process table for the family is slow: only if a socket is not the leader's.
    family = cache(lambda: socket_owner.list_inodes(termination.find_family(process_id)))
    listening, holder = find_listener(
        state.port, lambda socket: socket.inode in own or socket.inode in family()
    )
    return UnitStatus(
        is_active,
        pid=process_id.pid or None,
        start_time=process_id.start_time or None,
        exit_code=exit_code,
        listening=listening,
        port_holder=holder,
        failure="" if is_active else _describe_end(state, exit_code),
    )


def _describe_end(state: _State, exit_code: int | None) -> str:
    family = termination.find_family(state.process_id)
    if not family:  # otherwise the pipe is still open
        _wait_for_log(state)
    background = describe_background(exit_code, sorted(family), _list_listeners(family))
    return describe_end(Path(state.log), state.log_start, exit_code, background)


def _list_listeners(pids: set[int]) -> list[Socket]:
    inodes = socket_owner.list_inodes(pids)
    return [one for one in socket_owner.list_listeners() if one.inode in inodes]
