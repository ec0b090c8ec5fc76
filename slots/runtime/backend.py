"""What runs on a slot's backend port: the backend of its run, or the idle page of a free slot.

The spec says what should run. What does run is probed, never remembered.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import leftovers, log_files
from host.files.file_lock import file_lock
from host.process import termination
from host.process.users import DelegatedUser, User
from host.units import managers
from host.units.health import Health, describe_failed_start, probe, wait_until_healthy
from host.units.listeners import find_open_addresses
from host.units.unit import Unit, UnitStatus, start_or_replace
from slots.runtime import backend_log, idle_page, worktree
from slots.runtime import spec as specs
from slots.runtime.spec import Spec

__all__ = [
    "BackendStatus",
    "Spec",
    "health",
    "replace_with_idle_page",
    "restart",
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
class BackendStatus:
    """The result of a probe. `was_running`: a start found it running and left it alone."""

    spec: Spec
    unit_status: UnitStatus
    health: Health
    was_running: bool = False

    @property
    def kind(self) -> str:
        """What runs: run (the run's backend), idle (the idle page), or none."""
        if not self.unit_status.is_active:
            return "none"
        return "idle" if self.spec.is_idle else "run"

    @property
    def matches_spec(self) -> bool:
        """Whether it is healthy if the spec wants it up, and not running if down."""
        return self.health.ok if self.spec.wanted == "up" else not self.unit_status.is_active


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
    `port_taken` naming the listener.
    """
    with _spec_lock(config, slot):
        # Recorded first: if this process dies now, supervision starts the backend.
        spec = specs.set_wanted(config, slot, "up")
        unit = _build_unit(config, slot, spec)
        log_start = log_files.read_size(unit.log)
        started = start_or_replace(managers.get_manager(config), unit, STOP_SECONDS)
    # Outside the lock, so that a stop need not wait for a start that takes long.
    return _wait_until_healthy(config, slot, unit, started, log_start, seconds, stop)


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
    *,
    seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> BackendStatus:
    """Stop the backend, then start what the spec says. Raises Refused as `start` and `stop`."""
    with _spec_lock(config, slot):
        spec = specs.set_wanted(config, slot, "up")
        # Built before the stop: a spec that cannot be started leaves the backend as it is.
        unit = _build_unit(config, slot, spec)
        _stop(config, slot)
        log_start = log_files.read_size(unit.log)
        started = start_or_replace(managers.get_manager(config), unit, STOP_SECONDS)
    return _wait_until_healthy(config, slot, unit, started, log_start, seconds, stop)


def replace_with_idle_page(config: Config, slot: SlotConfig) -> BackendStatus:
    """End all processes of the run's backend, delete its spec and start the idle page.

    May be repeated. Raises Refused as `start` and `stop`.
    """
    unit = _build_unit(config, slot, specs.IDLE_SPEC)
    with _spec_lock(config, slot):
        _remove(config, slot)
        log_start = log_files.read_size(unit.log)
        started = start_or_replace(managers.get_manager(config), unit, STOP_SECONDS)
    return _wait_until_healthy(config, slot, unit, started, log_start, IDLE_START_SECONDS, None)


def remove_backend(config: Config, slot: SlotConfig) -> None:
    """End every process of the run and delete its spec. Raises Refused `backend_still_runs`."""
    with _spec_lock(config, slot):
        _remove(config, slot)


def _remove(config: Config, slot: SlotConfig) -> None:
    user = config.slot_user(slot)
    # A healthy idle page is kept if it is certain that its user runs nothing else.
    keeps_idle_page = _has_no_run(slot) and _is_idle_page_alone(config, slot, user)
    if not keeps_idle_page:
        _stop(config, slot)
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
    """Probe the backend: its process, its port and its health path."""
    spec = specs.read(slot)
    unit_status = managers.get_manager(config).status(unit_name(slot), slot.backend_port)
    return BackendStatus(spec, unit_status, _probe(slot, spec, unit_status))


def has_exited(config: Config, slot: SlotConfig) -> bool:
    """Return whether the backend's process has exited while no other process starts or stops it.

    Does not wait: while the lock is held, the answer is False.
    """
    worktree.prepare_folder(config, slot)
    with file_lock(_lock_path(slot), seconds=0) as is_taken:
        return is_taken and not managers.get_manager(config).status(unit_name(slot)).is_active


def describe_exposure(config: Config, slot: SlotConfig) -> list[str]:
    """Return a sentence if the backend listens on all interfaces."""
    listeners = managers.get_manager(config).list_listeners(unit_name(slot))
    addresses = ", ".join(find_open_addresses(listeners))
    note = (
        f"The backend listens on all interfaces ({addresses}), so other hosts may reach it"
        " directly: have it listen on 127.0.0.1, for instance with --bind 127.0.0.1:$PORT,"
        " --host 127.0.0.1 or the variable HOST."
    )
    return [note] if addresses else []


def health(config: Config, slot: SlotConfig) -> Health:
    """Return whether the backend is healthy, and why not."""
    return status(config, slot).health


def _probe(slot: SlotConfig, spec: Spec, unit_status: UnitStatus) -> Health:
    health = probe(unit_status, slot.backend_port, spec.health, PROBE_SECONDS)
    if health.ok and spec.is_idle and health.body != idle_page.render_health(slot.slot_id):
        detail = "The slot is free, but another program than the idle page answers."
        return Health(False, detail, health.body)
    return health


def _wait_until_healthy(
    config: Config,
    slot: SlotConfig,
    unit: Unit,
    started: UnitStatus,
    log_start: int,
    seconds: float | None,
    stop: Callable[[], bool] | None,
) -> BackendStatus:
    """Wait until the started unit is healthy; otherwise stop it and raise Refused.

    A unit that ran before, or that another process has restarted since, is not stopped.
    """
    manager = managers.get_manager(config)
    spec = specs.read(slot)
    if seconds is None:
        seconds = config.get_integer("PREVIEW_START_SECONDS", START_SECONDS)
    health = wait_until_healthy(manager, unit, seconds, stop)
    now = manager.status(unit.name, unit.port)
    if health.ok:
        return BackendStatus(spec, now, health, started.was_running)
    is_same = (now.pid, now.start_time) == (started.pid, started.start_time)
    if is_same and not started.was_running:
        manager.stop(unit.name)
    # The idle page is ours: no key of a manifest changes how it is probed.
    reason = health.reason if spec.is_idle else describe_failed_start(health, unit, log_start)
    raise Refused("backend_unhealthy", f"The backend of {slot.slot_id}: {reason}")


def _stop(config: Config, slot: SlotConfig) -> None:
    all_ended = managers.get_manager(config).stop(unit_name(slot), STOP_SECONDS)
    user = config.slot_user(slot)
    if user is not None and _is_local(user):
        # Daemons that left the unit's family. A command that we run for the slot has a parent.
        all_ended &= termination.kill_orphans(user.uid)
    if not all_ended:
        detail = f"Processes of {slot.slot_id} do not end, not even when killed."
        raise Refused("backend_still_runs", detail)


def _build_unit(config: Config, slot: SlotConfig, spec: Spec) -> Unit:
    argv, environment, cwd = _resolve_command(slot, spec)
    log = backend_log.path(config, slot)
    backend_log.ensure_link(config, slot)
    return Unit(
        unit_name(slot), argv, cwd, environment, config.slot_user(slot), log,
        slot.backend_port, spec.health, has_log_writer=not spec.is_idle,
    )  # fmt: skip


def _resolve_command(slot: SlotConfig, spec: Spec) -> tuple[tuple[str, ...], dict[str, str], Path]:
    """Return argv, complete environment and working directory of the spec's process."""
    if not spec.is_idle:
        return spec.argv, specs.read_environment(slot), spec.cwd
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
