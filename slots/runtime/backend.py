"""Who answers on a slot's backend port: the backend of its run, the idle responder, or nobody.

What should run says the spec; what does run is looked at, never remembered.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import file_lock
from host.process.runner import Elsewhere, User
from host.units import managers
from host.units.managers import Health, Manager, Status, Unit
from slots.runtime import backend_log, idle_page, worktree
from slots.runtime import spec as specs
from slots.runtime.spec import Spec

__all__ = ["Occupant", "Spec", "health", "make_idle", "restart", "start", "status", "stop"]

START_SECONDS = 60.0
STOP_SECONDS = 10.0
IDLE_SECONDS = 5.0
PROBE_SECONDS = 5.0
IDLE_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Occupant:
    """What a look at a slot's backend found. `already` after a start: it ran before."""

    spec: Spec
    status: Status
    health: Health
    already: bool = False

    @property
    def kind(self) -> str:
        """Who occupies the slot: run, idle, or none while its process does not run."""
        if not self.status.active:
            return "none"
        return "idle" if self.spec.is_idle else "run"

    @property
    def is_as_wanted(self) -> bool:
        """Say whether it is up and healthy, or down, as the spec has it."""
        return self.health.ok if self.spec.wanted == "up" else not self.status.active


def unit_name(slot: SlotConfig) -> str:
    """Return the name under which the occupant is kept running."""
    return f"ouroboros-preview@{slot.slot_id}"


def write_spec(
    config: Config, slot: SlotConfig, spec: Spec, environment: Mapping[str, str]
) -> None:
    """Say what the slot shall run, with the complete environment of its process."""
    with _locked(config, slot):
        if specs.read(slot).run_id != spec.run_id:
            backend_log.start_anew(config, slot)
        specs.write(config, slot, spec, environment)


def start(
    config: Config,
    slot: SlotConfig,
    *,
    seconds: float = START_SECONDS,
    stopping: Callable[[], bool] | None = None,
) -> Occupant:
    """Start what the spec says and wait until it is healthy; one that runs already is left alone.

    `stopping` is asked meanwhile. Raises Refused `unit_crashed` with the last lines of the log,
    `backend_unhealthy` (it was stopped again), `port_taken` naming the stranger.
    """
    with _locked(config, slot):
        spec = specs.want(config, slot, "up")
        unit = _unit(config, slot, spec)
        begun = _start(managers.manager(config), unit)
    return _settled(config, slot, unit, begun, seconds, stopping)


def stop(config: Config, slot: SlotConfig) -> Occupant:
    """Stop the occupant and leave it stopped. Raises Refused `backend_still_runs`."""
    with _locked(config, slot):
        specs.want(config, slot, "down")
        _stop(config, slot)
    return status(config, slot)


def restart(
    config: Config,
    slot: SlotConfig,
    *,
    seconds: float = START_SECONDS,
    stopping: Callable[[], bool] | None = None,
) -> Occupant:
    """Stop the occupant, then start what the spec says. Raises Refused as `start` and `stop`."""
    with _locked(config, slot):
        spec = specs.want(config, slot, "up")
        unit = _unit(config, slot, spec)
        _stop(config, slot)
        begun = _start(managers.manager(config), unit)
    return _settled(config, slot, unit, begun, seconds, stopping)


def make_idle(config: Config, slot: SlotConfig) -> Occupant:
    """Put the idle responder in place of the run's backend, whose processes all end first.

    May be repeated. Raises Refused as `start` and `stop`.
    """
    unit = _unit(config, slot, specs.IDLE)
    with _locked(config, slot):
        _end(config, slot)
        begun = _start(managers.manager(config), unit)
    return _settled(config, slot, unit, begun, START_SECONDS, None)


def end(config: Config, slot: SlotConfig) -> None:
    """End every process of the run and forget its spec. Raises Refused `backend_still_runs`."""
    with _locked(config, slot):
        _end(config, slot)


def _end(config: Config, slot: SlotConfig) -> None:
    user = config.slot_user(slot)
    # An idle responder that works stays, where it can be told from what else its user may run.
    stays = _is_free(slot) and _idles(config, slot, user)
    if not stays:
        _stop(config, slot)
    # What left the backend's family, or an install's, still has the slot's uid.
    if user is not None and not (stays and _is_local(user)) and not user.kill_all():
        raise Refused("backend_still_runs", f"Processes of uid {user.uid} cannot be killed.")
    if not stays:
        specs.forget(slot)


def _is_free(slot: SlotConfig) -> bool:
    """Say whether no run left a spec; one that cannot be read is a run's."""
    try:
        return specs.read(slot).is_idle
    except Refused:
        return False


def _is_local(user: User) -> bool:
    """Say whether we run the user's processes, its idle responder with them."""
    return not isinstance(user, Elsewhere)


def _idles(config: Config, slot: SlotConfig, user: User | None) -> bool:
    """Say whether an idle responder does its work, or will soon: somebody may be starting it.

    Where its user is known to us it must be all that this user runs.
    """
    found = status(config, slot)
    if found.status.active and not found.health.ok:
        unit = _unit(config, slot, specs.IDLE)
        managers.wait_healthy(managers.manager(config), unit, IDLE_SECONDS)
        found = status(config, slot)
    is_alone = user is None or not _is_local(user) or user.pids() == {found.status.pid}
    return found.health.ok and is_alone


def status(config: Config, slot: SlotConfig) -> Occupant:
    """Look at the occupant: its process, its port, what its health path answers."""
    spec = specs.read(slot)
    found = managers.manager(config).status(unit_name(slot), slot.backend_port)
    return Occupant(spec, found, _probe(slot, spec, found))


def is_gone(config: Config, slot: SlotConfig) -> bool:
    """Say whether its process is gone while nobody starts or stops it; no answer is waited for."""
    worktree.prepare_folder(config, slot)
    with file_lock.held(_lock(slot), seconds=0) as taken:
        return taken and not managers.manager(config).status(unit_name(slot)).active


def health(config: Config, slot: SlotConfig) -> Health:
    """Say whether the occupant is healthy, and why not."""
    return status(config, slot).health


def _probe(slot: SlotConfig, spec: Spec, found: Status) -> Health:
    path, host = spec.health_path, spec.host
    answer = managers.probe(found, slot.backend_port, path, PROBE_SECONDS, host)
    if answer.ok and spec.is_idle and answer.body != idle_page.health(slot.slot_id):
        return Health(False, "The slot is free, and yet something else answers.", answer.body)
    return answer


def _settled(
    config: Config,
    slot: SlotConfig,
    unit: Unit,
    begun: Status,
    seconds: float,
    stopping: Callable[[], bool] | None,
) -> Occupant:
    """Wait until what was started is healthy; else stop it again, if it still is the same."""
    keeper = managers.manager(config)
    spec = specs.read(slot)
    answer = managers.wait_healthy(keeper, unit, seconds, stopping, spec.host)
    found = keeper.status(unit.name, unit.port)
    if answer.ok:
        return Occupant(spec, found, answer, begun.already)
    if not begun.already and (found.pid, found.started) == (begun.pid, begun.started):
        keeper.stop(unit.name)
    raise Refused("backend_unhealthy", f"The backend of {slot.slot_id}: {answer.reason}")


def _start(keeper: Manager, unit: Unit) -> Status:
    """Start the unit, in place of another command that runs under its name."""
    try:
        return keeper.start(unit)
    except Refused as refusal:
        if refusal.code != "unit_differs":
            raise
    keeper.stop(unit.name, STOP_SECONDS)
    return keeper.start(unit)


def _stop(config: Config, slot: SlotConfig) -> None:
    if not managers.manager(config).stop(unit_name(slot), STOP_SECONDS):
        detail = f"Processes of {slot.slot_id} do not end, not even when killed."
        raise Refused("backend_still_runs", detail)


def _unit(config: Config, slot: SlotConfig, spec: Spec) -> Unit:
    argv, environment, cwd = _command(slot, spec)
    log = backend_log.path(config, slot)
    backend_log.link(config, slot)
    return Unit(
        unit_name(slot), argv, cwd, environment, config.slot_user(slot), log,
        slot.backend_port, spec.health_path,
    )  # fmt: skip


def _command(slot: SlotConfig, spec: Spec) -> tuple[tuple[str, ...], dict[str, str], Path]:
    """Return argv, complete environment and working directory of what the spec says."""
    if not spec.is_idle:
        return spec.argv, specs.environment(slot), spec.cwd
    words = [sys.executable, "-I", "-S", idle_page.__file__, slot.slot_id, str(slot.backend_port)]
    return tuple(words), IDLE_ENVIRONMENT, Path("/")


@contextmanager
def _locked(config: Config, slot: SlotConfig) -> Iterator[None]:
    """Hold the slot's spec still: a start must not act on one that is being taken away."""
    worktree.prepare_folder(config, slot)
    with file_lock.opened(_lock(slot)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lock(slot: SlotConfig) -> Path:
    return slot.folder / "occupant.lock"
