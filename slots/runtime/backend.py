"""What runs on a slot's backend port: the backend of its run, or the idle page of a free slot.

The run's background processes (`slots.runtime.processes`) start and stop with it.
The spec says what should run. What does run is probed, never remembered.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from host.app.process_types import process_environment
from host.app.process_types.process_environment import WEB
from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.errors import Refused
from host.files import leftovers, log_files
from host.files.file_lock import file_lock
from host.files.surface_folder import SurfaceFolder
from host.process import termination
from host.process.users import DelegatedUser, User
from host.units import managers
from host.units.health import Health, describe_failed_start, probe, wait_until_healthy
from host.units.listeners import find_open_addresses
from host.units.unit import Unit, UnitStatus, refuse_end, start_or_replace, stop_together
from slots.runtime import backend_log, idle_page, processes, worktree
from slots.runtime import spec as specs
from slots.runtime.processes import BackendStatus, ProcessStatus
from slots.runtime.spec import Spec

__all__ = [
    "BackendStatus",
    "Spec",
    "begin_restart",
    "health",
    "replace_with_idle_page",
    "restart",
    "revive",
    "start",
    "status",
    "stop",
]

START_SECONDS = 60
IDLE_START_SECONDS = 60.0
STOP_SECONDS = 10.0
IDLE_PAGE_SECONDS = 5.0
PROBE_SECONDS = 5.0
IDLE_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class _Started:
    """A start that is not complete: its unit must become healthy, and no process may end.

    `log_start` is the size of the unit's log before it.
    """

    spec: Spec
    unit: Unit
    unit_status: UnitStatus
    log_start: int
    settling: Deadline


def unit_name(slot: SlotConfig) -> str:
    """Return the name of the backend's unit."""
    return f"ouroboros-preview@{slot.slot_id}"


def write_spec(
    config: Config, slot: SlotConfig, spec: Spec, environment: Mapping[str, str]
) -> None:
    """Write what the slot should run, and the complete environment of its process."""
    with _spec_lock(config, slot):
        if specs.read(slot).run_id != spec.run_id:
            backend_log.archive_previous(config, slot)
        specs.write(config, slot, spec, environment)


def start(
    config: Config,
    slot: SlotConfig,
    *,
    seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> BackendStatus:
    """Start what the spec says and wait until it is healthy; leave it alone if it runs already.

    Waits `seconds` (default: PREVIEW_START_SECONDS), or until `stop` returns true. Raises Refused
    `unit_crashed` with the message of the log, `backend_unhealthy` (it was stopped again),
    `process_died` with the process beside `web` and its last lines, `port_taken` naming the
    listener.
    """
    with _spec_lock(config, slot):
        # Recorded first: if this process dies now, supervision starts the backend.
        started = _start(config, slot, specs.set_wanted(config, slot, "up"))
    # Outside the lock, so that a stop need not wait for a start that takes long.
    return _wait_until_healthy(config, slot, started, seconds, stop)


def stop(config: Config, slot: SlotConfig) -> BackendStatus:
    """Stop the backend and leave it stopped. Raises Refused `backend_still_runs`."""
    with _spec_lock(config, slot):
        # Recorded first, or supervision would start the backend again.
        specs.set_wanted(config, slot, "down")
        _stop(config, slot)
    return status(config, slot)


def restart(
    config: Config,
    slot: SlotConfig,
    name: str = "",
    *,
    seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> BackendStatus:
    """Stop one process, or without a name all, then start what the spec says.

    Raises Refused `process_unknown` (404), and as `start` and `stop`.
    """
    with _spec_lock(config, slot):
        started = _replace(config, slot, name)
    return _wait_until_healthy(config, slot, started, seconds, stop)


def begin_restart(config: Config, slot: SlotConfig, name: str = "") -> None:
    """Stop one process, or without a name all, and start it; whether it answers is not waited for.

    Supervision starts again what ends or does not answer. Raises Refused as `restart`.
    """
    with _spec_lock(config, slot):
        _replace(config, slot, name, keeps_ends=True)


def _replace(
    config: Config, slot: SlotConfig, name: str = "", *, keeps_ends: bool = False
) -> _Started:
    """Stop one process, or without a name all, and start it again. The caller has the lock."""
    # Before anything is changed: a name or a spec that is refused leaves the slot as it is.
    units = [_find_unit(slot, specs.read(slot), name)] if name else None
    spec = specs.set_wanted(config, slot, "up")
    _build_unit(config, slot, spec)
    _stop(config, slot, units)
    return _start(config, slot, spec, keeps_ends=keeps_ends)


def _find_unit(slot: SlotConfig, spec: Spec, name: str) -> str:
    """Return the unit of a process of the spec. Raises Refused `process_unknown` (404)."""
    processes.require(slot, spec, name)
    named = {process.name: process for process in spec.processes}
    return unit_name(slot) if name == WEB else processes.unit_name(slot, named[name])


def revive(config: Config, slot: SlotConfig, *, seconds: float) -> BackendStatus:
    """Start the processes that have ended, and restart `web` and servers that are not healthy.

    Nothing is done if the slot was stopped by hand. Raises Refused as `restart`.
    """
    with _spec_lock(config, slot):
        present = status(config, slot)
        if present.spec.wanted != "up":
            return present
        silent = [] if present.health.ok else [unit_name(slot)]
        silent += [_find_unit(slot, present.spec, one.name) for one in present.silent_servers]
        if silent:
            _stop(config, slot, silent)
        started = _start(config, slot, present.spec, keeps_ends=True)
    return _wait_until_healthy(config, slot, started, seconds, None)


def replace_with_idle_page(config: Config, slot: SlotConfig) -> BackendStatus:
    """End all processes of the run's backend, delete its spec and start the idle page.

    May be repeated. Raises Refused as `start` and `stop`.
    """
    with _spec_lock(config, slot):
        _remove(config, slot)
        started = _start(config, slot, specs.IDLE_SPEC)
    idle = _wait_until_healthy(config, slot, started, IDLE_START_SECONDS, None)
    if not idle.was_running:
        # Requests that wait for the run's backend are answered from now on, not since the switch.
        SurfaceFolder(slot.folder).restart_age()
    return idle


def remove_backend(config: Config, slot: SlotConfig) -> None:
    """End every process of the run and delete its spec. Raises Refused `backend_still_runs`."""
    with _spec_lock(config, slot):
        _remove(config, slot)


def _remove(config: Config, slot: SlotConfig) -> None:
    user = config.slot_user(slot)
    # A healthy idle page is kept if it is certain that its user runs nothing else.
    keeps_idle_page = _has_no_run(slot) and _is_idle_page_alone(config, slot, user)
    # A healthy idle page alone of its user has no processes beside it, as far as the user tells.
    _stop(config, slot, processes.list_units(config, slot) if keeps_idle_page else None)
    # A process that left its parent's group and session still has the slot's uid.
    if user is not None and not (keeps_idle_page and _is_local(user)) and not user.kill_all():
        raise Refused("backend_still_runs", f"Processes of uid {user.uid} cannot be killed.")
    if user is not None and _is_local(user):
        leftovers.remove_leftovers(user.uid)
    if not keeps_idle_page:
        specs.delete(slot)


def _has_no_run(slot: SlotConfig) -> bool:
    """Return whether no run's spec exists; a spec that cannot be read is a run's."""
    try:
        return specs.read(slot).is_idle
    except Refused:
        return False


def _is_local(user: User) -> bool:
    """Return whether this process starts the user's processes itself, the idle page included."""
    return not isinstance(user, DelegatedUser)


def _is_idle_page_alone(config: Config, slot: SlotConfig, user: User | None) -> bool:
    """Return whether the idle page is healthy and its user runs nothing else, as far as known."""
    present = status(config, slot)
    # Another process may be starting it.
    if present.unit_status.is_active and not present.health.ok:
        unit = _build_unit(config, slot, specs.IDLE_SPEC)
        wait_until_healthy(managers.get_manager(config), unit, IDLE_PAGE_SECONDS)
        present = status(config, slot)
    is_alone = user is None or not _is_local(user) or user.pids() == {present.unit_status.pid}
    return present.health.ok and is_alone


def status(config: Config, slot: SlotConfig) -> BackendStatus:
    """Probe the backend and the servers beside it: their processes, ports and health paths."""
    spec = specs.read(slot)
    unit_status = managers.get_manager(config).status(unit_name(slot), slot.backend_port)
    others = tuple(processes.probe_all(config, slot, spec, PROBE_SECONDS))
    return BackendStatus(spec, unit_status, _probe(slot, spec, unit_status), processes=others)


def list_processes(config: Config, slot: SlotConfig) -> list[ProcessStatus]:
    """Return the processes of the slot's run without probing a health path.

    Raises Refused `spec_invalid`.
    """
    unit_status = managers.get_manager(config).status(unit_name(slot))
    others = processes.list_statuses(config, slot, specs.read(slot))
    return [ProcessStatus(WEB, unit_status), *others]


def has_exited(config: Config, slot: SlotConfig) -> bool:
    """Return whether a process of the slot has exited while no one starts or stops it.

    Does not wait: while the lock is held, the answer is False. Raises Refused `spec_invalid`.
    """
    worktree.prepare_folder(config, slot)
    with file_lock(_lock_path(slot), seconds=0) as is_taken:
        return is_taken and not all(one.is_active for one in list_processes(config, slot))


def describe_exposure(config: Config, slot: SlotConfig) -> list[str]:
    """Return a sentence for each server, `web` first, that listens on all interfaces."""
    manager = managers.get_manager(config)
    subjects = {"The backend": unit_name(slot)} | {
        f"The process {one.name}": processes.unit_name(slot, one)
        for one in specs.read(slot).servers
    }
    found = {
        subject: ", ".join(find_open_addresses(manager.list_listeners(unit)))
        for subject, unit in subjects.items()
    }
    return [
        f"{subject} listens on all interfaces ({addresses}), so other hosts may reach it"
        " directly: have it listen on 127.0.0.1, for instance with --bind 127.0.0.1:$PORT,"
        " --host 127.0.0.1 or the variable HOST."
        for subject, addresses in found.items()
        if addresses
    ]


def health(config: Config, slot: SlotConfig) -> Health:
    """Return whether the backend is healthy, and why not."""
    return status(config, slot).health


def _probe(slot: SlotConfig, spec: Spec, unit_status: UnitStatus) -> Health:
    health = probe(unit_status, slot.backend_port, spec.health, PROBE_SECONDS)
    if health.ok and spec.is_idle and health.body != idle_page.render_health(slot.slot_id):
        detail = "The slot is free, but another program than the idle page answers."
        return Health(False, detail, health.body)
    return health


def _start(config: Config, slot: SlotConfig, spec: Spec, *, keeps_ends: bool = False) -> _Started:
    """Start the backend and the other processes that do not run. The caller has the lock."""
    unit = replace(_build_unit(config, slot, spec), keeps_end=keeps_ends)
    log_start = log_files.read_size(unit.log)
    unit_status = start_or_replace(managers.get_manager(config), unit, STOP_SECONDS)
    processes.start(config, slot, spec, unit.env, keeps_ends=keeps_ends)
    return _Started(spec, unit, unit_status, log_start, processes.begin_settling())


def _wait_until_healthy(
    config: Config,
    slot: SlotConfig,
    started: _Started,
    seconds: float | None,
    stop: Callable[[], bool] | None,
) -> BackendStatus:
    """Wait until all that was started is healthy; otherwise stop the backend and raise Refused.

    A unit that ran before, or that another process has restarted since, is not stopped.
    """
    manager, unit = managers.get_manager(config), started.unit
    if seconds is None:
        seconds = config.get_integer("PREVIEW_START_SECONDS", START_SECONDS)
    deadline = Deadline(seconds)
    health = wait_until_healthy(manager, unit, seconds, stop)
    if health.ok:
        remaining = deadline.seconds_left
        processes.wait_until_servers_answer(config, slot, started.spec, unit.env, remaining, stop)
        processes.wait_until_settled(config, slot, started.spec, started.settling, stop)
    now = manager.status(unit.name, unit.port)
    if health.ok and not now.is_active:  # it has ended while the others were waited for
        health = Health(False, f"It {now.failure or 'does not run.'}")
    if health.ok:
        others = tuple(processes.list_statuses(config, slot, started.spec))
        return BackendStatus(specs.read(slot), now, health, started.unit_status.was_running, others)
    _stop_what_was_started(config, slot, started)
    reason = health.reason
    if not started.spec.is_idle:  # which is ours: no key of a manifest changes how it is probed
        reason = describe_failed_start(health, unit, started.log_start)
    detail = f"The backend of {slot.slot_id}: {reason}"
    raise refuse_end("backend_unhealthy", detail, was_killed=now.was_killed)


def _stop_what_was_started(config: Config, slot: SlotConfig, started: _Started) -> None:
    now = managers.get_manager(config).status(started.unit.name, started.unit.port)
    before = started.unit_status
    is_same = (now.pid, now.start_time) == (before.pid, before.start_time)
    if is_same and not before.was_running:
        stop_together(
            managers.get_manager(config), [started.unit.name, *processes.list_units(config, slot)]
        )


def _stop(config: Config, slot: SlotConfig, units: Sequence[str] | None = None) -> None:
    """Stop these units, by default all of the slot. Raises Refused `backend_still_runs`."""
    names = [unit_name(slot), *processes.list_units(config, slot)] if units is None else units
    all_ended = stop_together(managers.get_manager(config), names)
    user = config.slot_user(slot)
    if user is not None and _is_local(user):
        # Daemons that left the unit's family. A command that we run for the slot has a parent; a
        # unit, which has none if the worker that started it has ended, has a mark.
        all_ended &= termination.kill_orphans(user.uid, only_unmarked=units is not None)
    if not all_ended:
        detail = f"Processes of {slot.slot_id} do not end, not even when killed."
        raise Refused("backend_still_runs", detail)


def _build_unit(config: Config, slot: SlotConfig, spec: Spec) -> Unit:
    argv, environment, cwd = _resolve_command(slot, spec)
    log = backend_log.path(config, slot)
    backend_log.ensure_link(config, slot)
    return Unit(
        unit_name(slot), argv, cwd, environment, config.slot_user(slot), log,
        slot.backend_port, spec.health, stop_timeout=STOP_SECONDS, has_log_writer=not spec.is_idle,
    )  # fmt: skip


def _resolve_command(slot: SlotConfig, spec: Spec) -> tuple[tuple[str, ...], dict[str, str], Path]:
    """Return argv, complete environment and working directory of the spec's process."""
    if not spec.is_idle:
        return (
            spec.argv,
            process_environment.build_web_environment(specs.read_environment(slot)),
            spec.cwd,
        )
    # -I -S: no environment, no site-packages; so it starts in milliseconds.
    argv = [sys.executable, "-I", "-S", idle_page.__file__, slot.slot_id, str(slot.backend_port)]
    return tuple(argv), IDLE_ENVIRONMENT, Path("/")


@contextmanager
def _spec_lock(config: Config, slot: SlotConfig) -> Iterator[None]:
    """Keep other processes from changing the spec: a start must not read one being deleted."""
    worktree.prepare_folder(config, slot)
    with file_lock(_lock_path(slot), seconds=None):
        yield


def _lock_path(slot: SlotConfig) -> Path:
    return slot.folder / "backend.lock"
