"""Makes changed settings take effect: writes what follows from them, restarts what reads them."""

import os
import re
import time
from collections.abc import Container, Iterable, Mapping

import psycopg

from host.config import Config
from host.errors import Refused
from host.units import managers
from host.units.control_units import API, WORKER
from host.units.unit import UnitManager
from ops import progress, stack, systemd
from ops.installed.stale_units import StaleUnit, find_stale_units
from ops.preconditions.migrations import find_missing_migrations

MIGRATE = "ouroboros-migrate"
# ouroboros-web@preview3, ouroboros-preview@preview-3, ouroboros-process-preview-3@worker
SLOT_OF_UNIT = re.compile(r"[@-]preview-?([0-9]+)(?:@|$)")


def apply_settings(config: Config, environ: Mapping[str, str], *, dry_run: bool) -> str:
    """Write and restart only what differs, and say what; returns a sentence. May be repeated.

    Production's surface and the router load new settings without losing a request; production's
    backends and the previews keep running. Raises Refused as the installation and the start do.
    """
    if not config.is_systemd:
        return _apply_embedded(config, environ, dry_run=dry_run)
    if os.geteuid() != 0:
        raise Refused("not_root", "Only root can change the installed units: run it as root.")
    if not dry_run:
        require_database(config)
    steps = [step for step in systemd.plan_steps(config) if not step.is_done()]
    for step in steps:
        progress.print_line(f"{'would write' if dry_run else 'writing'} {step.description}")
        if not dry_run:
            step.apply()
    if steps and not dry_run:
        systemd.run_systemctl("daemon-reload")
    stale = find_stale_units(config)
    for unit in stale:
        progress.print_line(str(unit))
    if dry_run:
        return f"{len(steps)} files and {len(stale)} units differ; nothing was changed."
    _restart(config, stale)
    return f"{len(steps)} files were written, {len(stale)} units have the present settings."


def require_database(config: Config) -> None:
    """Raise Refused `database_unavailable` if the API and the worker would not start again.

    Their restart is one of the migration's unit, which fails without the database.
    """
    try:
        find_missing_migrations(config)
    except psycopg.Error as error:
        detail = (
            f"The control plane's database does not answer; nothing was changed. {error}\n"
            "Start PostgreSQL, or correct DATABASE_URL in api.env, then repeat this command."
        )
        raise Refused("database_unavailable", detail) from None


def _restart(config: Config, stale: list[StaleUnit]) -> None:
    systemd.remove_slots(config)
    systemd.run_systemctl("enable", "--quiet", systemd.TARGET, *systemd.list_enabled_units(config))
    names = {unit.name for unit in stale}
    if names & {API, WORKER}:
        # It makes the rows of new slots; the API and the worker are restarted with it.
        systemd.run_systemctl("restart", f"{MIGRATE}.service")
    for unit in stale:
        if unit.name not in (API, WORKER):
            command = "reload-or-restart" if unit.can_reload else "restart"
            progress.print_line(f"{command} {unit.name}")
            systemd.run_systemctl(command, f"{unit.name}.service")
    stack.start_all(config, {})


def _apply_embedded(config: Config, environ: Mapping[str, str], *, dry_run: bool) -> str:
    """Restart the API and the worker, which read the env files; start_all replaces the others."""
    files = [config.env_dir / name for name in ("api.env", "worker.env")]
    changed = max((path.stat().st_mtime for path in files if path.exists()), default=0.0)
    manager = managers.get_manager(config)
    stale = [name for name in (API, WORKER) if _is_older(manager, name, changed)]
    for name in stale:
        progress.print_line(f"{name} runs with earlier env files")
    removed = list_removed_units(manager.list_names(), {slot.number for slot in config.slots})
    for name in removed:
        progress.print_line(f"{name} is of a slot that is not configured")
    stale += removed  # the worker comes before them: it restarts what it finds stopped
    if not dry_run:
        stack.require_migrations(config)  # before anything is stopped that could not start again
    for name in [] if dry_run else sorted(stale, key=WORKER.__ne__):
        manager.stop(name, stack.STOP_SECONDS)
    if dry_run:
        return f"{len(stale)} units differ; nothing was changed."
    return stack.start_all(config, environ)


def list_removed_units(names: Iterable[str], numbers: Container[int]) -> list[str]:
    """Return those of the units that belong to a slot whose number is not among `numbers`."""
    matches = ((name, SLOT_OF_UNIT.search(name)) for name in names)
    return sorted(name for name, match in matches if match and int(match[1]) not in numbers)


def _is_older(manager: UnitManager, name: str, changed: float) -> bool:
    status = manager.status(name)
    if not status.is_active or status.start_time is None:
        return False
    # Both clocks are read now: `start_time` is in seconds since the boot.
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + status.start_time
    return changed > started
