"""The background processes of a slot's run: units beside the backend, with its environment.

They are started and stopped with the backend, and each has a log of its own. The caller,
`slots.runtime.backend`, holds the spec's lock around every start and stop.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from host.app.process_types import process_environment
from host.app.process_types.process_environment import WEB
from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.errors import Refused
from host.units import managers
from host.units.stack_ports import process_prefix
from host.units.unit import (
    SETTLE_SECONDS,
    STOP_SECONDS,
    Unit,
    UnitStatus,
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

    @property
    def is_active(self) -> bool:
        return self.unit_status.is_active

    @property
    def failure(self) -> str:
        """How it ended and its last log lines, to complete a sentence about it."""
        return self.unit_status.failure or "is not running"


def unit_name(slot: SlotConfig, name: str) -> str:
    """Return the name of a process's unit."""
    # The slot is part of the template's name: systemd derives the user from it (%j), and cannot
    # from a part of the instance's name. See docs/decisions/0022.
    return f"{process_prefix(slot.slot_id)}{name}"


def start(config: Config, slot: SlotConfig, spec: Spec, environment: Mapping[str, str]) -> None:
    """Start the processes that do not run, and stop those that the spec does not have.

    Returns without waiting for what they do next: see `wait_until_settled`. Raises Refused
    `process_died` naming the process.
    """
    names = {unit_name(slot, process.name) for process in spec.processes}
    stop_together(managers.get_manager(config), set(list_units(config, slot)) - names)
    for process in spec.processes:
        unit = _build_unit(config, slot, process, environment)
        try:
            start_or_replace(managers.get_manager(config), unit, process.stop_timeout)
        except Refused as refused:
            if refused.code != "unit_crashed":
                raise
            reason = refused.detail.removeprefix(f"{unit.name} ")
            raise _died(slot, process.name, reason) from refused


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
                raise _died(slot, status.name, status.failure)
        if since.has_passed or (stop is not None and stop()):
            return
        time.sleep(min(POLL_SECONDS, since.seconds_left))


def begin_settling() -> Deadline:
    """Return the time until which processes that start now must not end."""
    return Deadline(SETTLE_SECONDS)


def list_statuses(config: Config, slot: SlotConfig, spec: Spec) -> list[ProcessStatus]:
    """Probe the background processes of the spec, in its order."""
    manager = managers.get_manager(config)
    return [
        ProcessStatus(process.name, manager.status(unit_name(slot, process.name)))
        for process in spec.processes
    ]


def require(slot: SlotConfig, spec: Spec, name: str) -> None:
    """Raise Refused `process_unknown` (404) if the spec has no process of that name."""
    known = [WEB, *(process.name for process in spec.processes)]
    if name not in known:
        detail = f"{slot.slot_id} has no process {name!r}; it has {', '.join(known)}."
        raise Refused("process_unknown", detail, status=404)


def list_units(config: Config, slot: SlotConfig) -> list[str]:
    """Return the units of the slot's processes that were started and not stopped."""
    names = managers.get_manager(config).list_names()
    return [name for name in names if name.startswith(unit_name(slot, ""))]


def _build_unit(
    config: Config, slot: SlotConfig, process: ProcessSpec, environment: Mapping[str, str]
) -> Unit:
    return Unit(
        unit_name(slot, process.name),
        process.argv,
        process.cwd,
        process_environment.build_background_environment(environment, process.name),
        config.slot_user(slot),
        backend_log.path(config, slot, process.name),
        stop_timeout=min(process.stop_timeout, MAX_STOP_SECONDS),
        has_log_writer=True,
        settle_seconds=0.0,  # so that none waits for another: see wait_until_settled
    )


def _died(slot: SlotConfig, name: str, reason: str) -> Refused:
    return Refused("process_died", f"The process {name} of {slot.slot_id} {reason}")
