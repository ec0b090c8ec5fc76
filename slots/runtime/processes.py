"""The processes of a slot's run beside `web`: units with the backend's environment.

They are started and stopped with the backend, and each has a log of its own; a server among them
has a port of its own too, and is probed. The caller, `slots.runtime.backend`, holds the spec's lock
around every start and stop.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from host.app.process_types import process_environment
from host.app.process_types.process_environment import WEB
from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.errors import Refused
from host.units import managers, stack_ports
from host.units.health import Health, describe_failed_start, probe, wait_until_healthy
from host.units.stack_ports import PREVIEW_PREFIX, process_prefix
from host.units.unit import (
    SETTLE_SECONDS,
    STOP_SECONDS,
    ProcessKilled,
    Unit,
    UnitStatus,
    refuse_end,
    start_or_replace,
    stop_together,
)
from slots.runtime import backend_log
from slots.runtime.spec import ProcessSpec, Spec

POLL_SECONDS = 0.05
# A slot is cleaned within 20 s, however long a process may take to end in production.
MAX_STOP_SECONDS = STOP_SECONDS


@dataclass(frozen=True)
class ProcessStatus:
    """What a probe of one process of a slot found."""

    name: str
    unit_status: UnitStatus
    health: Health | None = None  # of a server that was probed

    @property
    def is_active(self) -> bool:
        return self.unit_status.is_active

    @property
    def is_healthy(self) -> bool:
        """Whether it runs, and answers if it is a server that was probed."""
        return self.is_active and (self.health is None or self.health.ok)

    @property
    def failure(self) -> str:
        """How it ended and its last log lines, to complete a sentence about it."""
        return self.unit_status.failure or "is not running"


@dataclass(frozen=True)
class BackendStatus:
    """The result of a probe. `was_running`: a start found it running and left it alone.

    `processes` are those of the spec beside `web`.
    """

    spec: Spec
    unit_status: UnitStatus
    health: Health
    was_running: bool = False
    processes: tuple[ProcessStatus, ...] = ()

    @property
    def kind(self) -> str:
        """What runs: run (the run's backend), idle (the idle page), or none."""
        if not self.unit_status.is_active:
            return "none"
        return "idle" if self.spec.is_idle else "run"

    @property
    def matches_spec(self) -> bool:
        """Whether all of it runs and is healthy if the spec wants it up; whether none if down."""
        if self.spec.wanted == "up":
            return self.health.ok and all(one.is_healthy for one in self.processes)
        return not any(one.is_active for one in self.all_processes)

    @property
    def all_processes(self) -> tuple[ProcessStatus, ...]:
        """The `web` process first, then the others."""
        return (ProcessStatus(WEB, self.unit_status), *self.processes)

    @property
    def ended_processes(self) -> list[ProcessStatus]:
        """The processes of the spec that do not run."""
        return [one for one in self.all_processes if not one.is_active]

    @property
    def silent_servers(self) -> list[ProcessStatus]:
        """The servers beside `web` that run and are not healthy."""
        return [one for one in self.processes if one.is_active and not one.is_healthy]


def unit_name(slot: SlotConfig, process: ProcessSpec) -> str:
    """Return the name of a process's unit."""
    if process.port_index is not None:
        return stack_ports.name_server(PREVIEW_PREFIX, slot.slot_id, process.port_index)
    # The slot is part of the template's name: systemd derives the user from it (%j), and cannot
    # from a part of the instance's name. See docs/decisions/0022.
    return f"{process_prefix(slot.slot_id)}{process.name}"


def find_port(slot: SlotConfig, process: ProcessSpec) -> int | None:
    """Return the port of a server; None for a background process."""
    return None if process.port_index is None else slot.server_ports[process.port_index]


def start(
    config: Config,
    slot: SlotConfig,
    spec: Spec,
    environment: Mapping[str, str],
    *,
    keeps_ends: bool = False,
) -> None:
    """Start the processes that do not run, and stop those that the spec does not have.

    `keeps_ends`: see `Unit.keeps_end`. Returns without waiting for what they do next: see
    `wait_until_settled` and `wait_until_servers_answer`. Raises Refused `process_died` naming the
    process.
    """
    names = {unit_name(slot, process) for process in spec.processes}
    stop_together(managers.get_manager(config), set(list_units(config, slot)) - names)
    for process in spec.processes:
        unit = _build_unit(config, slot, spec, process, environment)
        unit = replace(unit, keeps_end=keeps_ends)
        try:
            start_or_replace(managers.get_manager(config), unit, process.stop_timeout)
        except Refused as refused:
            if refused.code != "unit_crashed":
                raise
            reason = refused.detail.removeprefix(f"{unit.name} ")
            was_killed = isinstance(refused, ProcessKilled)
            raise _died(slot, process.name, reason, was_killed=was_killed) from refused


def wait_until_settled(
    config: Config,
    slot: SlotConfig,
    spec: Spec,
    since: Deadline,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Wait until `since` has passed while no process ends. Raises Refused `process_died`."""
    while spec.processes:
        for status in list_statuses(config, slot, spec):
            if not status.is_active:
                was_killed = status.unit_status.was_killed
                raise _died(slot, status.name, status.failure, was_killed=was_killed)
        if since.has_passed or (stop is not None and stop()):
            return
        time.sleep(min(POLL_SECONDS, since.seconds_left))


def begin_settling() -> Deadline:
    """Return the time until which processes that start now must not end."""
    return Deadline(SETTLE_SECONDS)


def list_statuses(config: Config, slot: SlotConfig, spec: Spec) -> list[ProcessStatus]:
    """Return the statuses of the spec's processes beside `web`, in its order."""
    manager = managers.get_manager(config)
    return [
        ProcessStatus(
            process.name, manager.status(unit_name(slot, process), find_port(slot, process))
        )
        for process in spec.processes
    ]


def probe_all(config: Config, slot: SlotConfig, spec: Spec, seconds: float) -> list[ProcessStatus]:
    """Return the statuses with the health of each server, asked for `seconds` at most each."""
    statuses = list_statuses(config, slot, spec)
    return [
        _probe(slot, spec, process, status, seconds)
        for process, status in zip(spec.processes, statuses, strict=True)
    ]


def _probe(
    slot: SlotConfig, spec: Spec, process: ProcessSpec, status: ProcessStatus, seconds: float
) -> ProcessStatus:
    port = find_port(slot, process)
    if port is None:
        return status
    found = probe(status.unit_status, port, spec.build_server_check(process), seconds)
    return replace(status, health=found)


def wait_until_servers_answer(
    config: Config,
    slot: SlotConfig,
    spec: Spec,
    environment: Mapping[str, str],
    seconds: float,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Wait until each server is healthy, `seconds` in all. Raises Refused as `backend.start`."""
    manager, deadline = managers.get_manager(config), Deadline(seconds)
    for process in spec.servers:
        unit = _build_unit(config, slot, spec, process, environment)
        found = wait_until_healthy(manager, unit, max(deadline.seconds_left, 0.0), stop)
        if not found.ok:
            status = manager.status(unit.name, unit.port)
            if not status.is_active:
                reason = status.failure or "is not running"
                raise _died(slot, process.name, reason, was_killed=status.was_killed)
            reason = describe_failed_start(found, unit, key=f"[processes.{process.name}]")
            detail = f"The process {process.name} of {slot.slot_id}: {reason}"
            raise Refused("backend_unhealthy", detail)


def require(slot: SlotConfig, spec: Spec, name: str) -> None:
    """Raise Refused `process_unknown` (404) if the spec has no process of that name."""
    known = [WEB, *(process.name for process in spec.processes)]
    if name not in known:
        detail = f"{slot.slot_id} has no process {name!r}; it has {', '.join(known)}."
        raise Refused("process_unknown", detail, status=404)


def list_units(config: Config, slot: SlotConfig) -> list[str]:
    """Return the units of the slot's processes beside `web` that were started and not stopped."""
    names = managers.get_manager(config).list_names()
    prefixes = (process_prefix(slot.slot_id), f"{PREVIEW_PREFIX}{slot.slot_id}.")
    return [name for name in names if name.startswith(prefixes)]


def _build_unit(
    config: Config,
    slot: SlotConfig,
    spec: Spec,
    process: ProcessSpec,
    environment: Mapping[str, str],
) -> Unit:
    port = find_port(slot, process)
    if port is None:
        env = process_environment.build_background_environment(environment, process.name)
    else:
        env = process_environment.build_server_environment(environment, process.name, port)
    return Unit(
        unit_name(slot, process),
        process.argv,
        process.cwd,
        env,
        config.slot_user(slot),
        backend_log.path(config, slot, process.name),
        port,
        spec.build_server_check(process),
        stop_timeout=min(process.stop_timeout, MAX_STOP_SECONDS),
        has_log_writer=True,
        settle_seconds=0.0,  # so that none waits for another: see wait_until_settled
    )


def _died(slot: SlotConfig, name: str, reason: str, *, was_killed: bool) -> Refused:
    detail = f"The process {name} of {slot.slot_id} {reason}"
    return refuse_end("process_died", detail, was_killed=was_killed)
