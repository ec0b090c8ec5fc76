"""Keeps production's background processes running: one that ended is started again, with delays.

How often each was started again is in a file: the reconciler runs in several processes.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.files import safe_files
from host.units import managers
from host.units.unit import Unit
from releases.models import Release
from releases.processes import background
from releases.rules import count_process_restart, is_process_restart_due


@dataclass(frozen=True)
class Restarts:
    """How often in a row a process was started again, and when last (Unix time)."""

    count: int = 0
    last: float = 0.0
    total: int = 0


def keep_running(
    config: Config, release: Release | None, *, is_deploying: bool, dry_run: bool
) -> list[str]:
    """Start the release's processes that do not run, and stop all others; returns sentences.

    During a deployment, which replaces them itself, only those are started that it has started.
    """
    try:
        names = [] if release is None else background.list_names(config, release)
        if not _find_wrong(config, names):
            return []
        # No wait: what holds the lock, such as a deployment, starts and stops them.
        with background.lock(config, seconds=0) as is_taken:
            if not is_taken:
                return []
            units = [] if release is None else background.make_units(config, release)
            return list(_repair(config, units, is_deploying=is_deploying, dry_run=dry_run))
    except Refused as refused:
        return [f"Production's background processes: {refused.detail}"]


def _find_wrong(config: Config, names: list[str]) -> bool:
    """Return whether a process does not run, or one runs that the release does not have."""
    manager = managers.get_manager(config)
    wanted = {background.unit_name(name) for name in names}
    if set(background.list_units(config)) != wanted:
        return True
    return not all(manager.status(name).is_active for name in wanted)


def _repair(
    config: Config, units: list[Unit], *, is_deploying: bool, dry_run: bool
) -> Iterator[str]:
    manager = managers.get_manager(config)
    strays = set(background.list_units(config)) - {unit.name for unit in units}
    if strays and not is_deploying:
        yield f"{', '.join(sorted(strays))}: not of the live release, stopped"
        if not dry_run:
            background.stop_units(config, sorted(strays))
    for unit in units:
        is_ours = manager.read_digest(unit.name) == unit.digest
        if (is_ours or not is_deploying) and not manager.status(unit.name).is_active:
            yield from _start_again(config, unit, dry_run)


def _start_again(config: Config, unit: Unit, dry_run: bool) -> Iterator[str]:
    """Start a process that ended, unless the delay after its last restart is not over."""
    status, before = managers.get_manager(config).status(unit.name), read_restarts(config)
    known = before.get(unit.name, Restarts())
    if not is_process_restart_due(known.count, time.time() - known.last):
        return
    failure = status.failure or "was not running."
    if dry_run:
        yield f"{unit.name} {failure}"
        return
    count = count_process_restart(known.count, time.time() - known.last)
    now = Restarts(count, time.time(), known.total + 1)
    _write_restarts(config, {**before, unit.name: now})
    yield f"{unit.name} {failure}\nIt is started again (restart {now.total})."
    background.start(config, unit)


def _path(config: Config) -> Path:
    # Not .json: those files are units.
    return config.var / "run" / "app-processes.restarts"


def read_restarts(config: Config) -> dict[str, Restarts]:
    """Return the restarts by the name of the unit."""
    try:
        raw = json.loads(_path(config).read_text())
        return {name: Restarts(**fields) for name, fields in raw.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def forget_restarts(config: Config) -> None:
    """Count from 0: another release runs."""
    _path(config).unlink(missing_ok=True)


def _write_restarts(config: Config, restarts: dict[str, Restarts]) -> None:
    text = json.dumps({name: asdict(one) for name, one in restarts.items()})
    safe_files.write_atomic(_path(config), text.encode(), 0o600, survives_reboot=False)
