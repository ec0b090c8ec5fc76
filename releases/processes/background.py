"""Production's background processes: one unit each, of the release that is live.

A deployment replaces them after the switch: it stops those of the release before, waits for their
end, and starts its own, so two generations of a process never run at once. They have no colour: no
request waits for them, so nothing is gained by two of them.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from host.app import planning
from host.app.planning import BackgroundCommand
from host.app.process_types import process_environment
from host.config import Config
from host.deadline import Deadline
from host.errors import Refused
from host.files.file_lock import file_lock
from host.units import managers
from host.units.unit import (
    SETTLE_SECONDS,
    ProcessKilled,
    Unit,
    UnitStatus,
    refuse_end,
    stop_together,
)
from releases.builds.build_folders import source_folder
from releases.builds.launch_spec import read_launch_spec
from releases.models import Release
from releases.production import app_instance, colours
from releases.rules import COLOURS

UNIT_PREFIX = "ouroboros-app-process@"
POLL_SECONDS = 0.05
# Above the longest `stop_timeout`.
LOCK_SECONDS = 330.0


def unit_name(name: str) -> str:
    """Return the unit of the process of that name."""
    return f"{UNIT_PREFIX}{name}"


def log_path(config: Config, name: str) -> Path:
    """Return the log of a process's output."""
    return config.var / "log" / f"{unit_name(name)}.log"


def list_units(config: Config) -> list[str]:
    """Return the units of processes that were started and not stopped."""
    names = managers.get_manager(config).list_names()
    return [name for name in names if name.startswith(UNIT_PREFIX)]


def list_names(config: Config, release: Release) -> list[str]:
    """Return the names of the release's processes. Raises Refused `release_corrupt`."""
    return [process.name for process in read_launch_spec(config, release.pk).background]


def make_units(config: Config, release: Release) -> list[Unit]:
    """Return the units of the release's processes. Raises Refused `release_corrupt`."""
    spec = read_launch_spec(config, release.pk)
    if not spec.background:
        return []
    # Their environment is that of a colour, without its ports.
    ports = (config.colour_ports[0], config.server_ports[COLOURS[0]])
    instance = colours.make_instance(config, "background", *ports)
    env = app_instance.resolve_environment(config, release, spec, instance).env
    return [_make_unit(config, release, process, spec.bins, env) for process in spec.background]


def _make_unit(
    config: Config,
    release: Release,
    process: BackgroundCommand,
    bins: Sequence[Path],
    environment: dict[str, str],
) -> Unit:
    root, command = source_folder(config, release.pk), process.command
    env = process_environment.build_background_environment(environment, process.name)
    return Unit(
        name=unit_name(process.name),
        argv=tuple(planning.prepare_argv(command, config, root=root, bins=bins, env=env)),
        cwd=root / command.cwd,
        env=env,
        user=config.app_user,
        log=log_path(config, process.name),
        stop_timeout=process.stop_timeout,
        has_log_writer=True,
        settle_seconds=0.0,  # so that none waits for another: see wait_until_settled
    )


@contextmanager
def lock(config: Config, seconds: float = LOCK_SECONDS) -> Iterator[bool]:
    """Let one process at a time start and stop them; yields whether it is this one."""
    with file_lock(config.var / "run" / "app-processes.lock", seconds=seconds) as is_taken:
        yield is_taken


def replace(config: Config, release: Release | None) -> None:
    """Run the processes of that release and no others; None: run none. May be repeated.

    Those that have to end have their `stop_timeout`. Returns when the new ones have not ended for
    SETTLE_SECONDS. Raises Refused `process_died` with the name and the last lines of its log,
    `process_still_runs`, `release_corrupt`.
    """
    units = [] if release is None else make_units(config, release)
    with lock(config) as is_taken:
        if not is_taken:
            raise Refused("process_still_runs", "The processes of another release do not end.")
        stop_units(config, _list_stale(config, units))
        for unit in units:
            start(config, unit)
    wait_until_settled(config, units)


def _list_stale(config: Config, units: Iterable[Unit]) -> list[str]:
    """Return the units that are not those of `units`, or that run another command."""
    manager, digests = managers.get_manager(config), {unit.name: unit.digest for unit in units}
    running = list_units(config)
    return [name for name in running if manager.read_digest(name) != digests.get(name)]


def stop_units(config: Config, names: Sequence[str]) -> None:
    """Stop these units at the same time. Raises Refused `process_still_runs`."""
    if not stop_together(managers.get_manager(config), names):
        detail = f"Not all of {', '.join(names)} end, not even when killed."
        raise Refused("process_still_runs", detail)


def start(config: Config, unit: Unit) -> None:
    """Start the unit unless it runs. Raises Refused `process_died`, and as the manager does."""
    try:
        managers.get_manager(config).start(unit)
    except Refused as refused:
        if refused.code != "unit_crashed":
            raise
        reason = refused.detail.removeprefix(f"{unit.name} ")
        was_killed = isinstance(refused, ProcessKilled)
        raise _died(unit.name, reason, was_killed=was_killed) from refused


def wait_until_settled(config: Config, units: Sequence[Unit]) -> None:
    """Wait until no unit has ended for SETTLE_SECONDS. Raises Refused `process_died`."""
    deadline = Deadline(SETTLE_SECONDS)
    while units:
        require_active(config, [unit.name for unit in units])
        if deadline.has_passed:
            return
        time.sleep(POLL_SECONDS)


def require_active(config: Config, names: Iterable[str]) -> list[UnitStatus]:
    """Return the statuses of these units. Raises Refused `process_died` for one that ended."""
    manager, statuses = managers.get_manager(config), []
    for name in names:
        status = manager.status(name)
        if not status.is_active:
            reason = status.failure or "is not running."
            raise _died(name, reason, was_killed=status.was_killed)
        statuses.append(status)
    return statuses


def _died(name: str, reason: str, *, was_killed: bool) -> Refused:
    detail = f"The process {name.removeprefix(UNIT_PREFIX)} {reason}"
    return refuse_end("process_died", detail, was_killed=was_killed)
