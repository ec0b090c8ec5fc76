"""Migrating and resetting a slot's database by hand, behind the guard in all its layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from host.app.environment import MASK
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import log_files, safe_files
from host.postgres import dump, guard
from host.postgres.guard import Target
from host.postgres.schema_diff import schema_changes
from host.process import runner
from slots.runtime import backend
from slots.runtime import spec as specs
from slots.runtime.spec import Spec

MIGRATE_SECONDS = 1800.0
LAST_LINES = 30


def migrate(config: Config, slot: SlotConfig, *, dry_run: bool = False) -> dict[str, Any]:
    """Run the application's `release:` on the slot's database; a dry run only looks.

    Raises Refused `unsafe_database_target` before anything is done, `migration_failed`.
    """
    target = _target(config, slot)
    spec = specs.read(slot)
    command = _written(slot, spec)
    said: dict[str, Any] = {"dry_run": dry_run, "target": _shown(target), "command": command}
    if spec.is_idle:
        return said | {"applied": [], "reason": "SLOT_IDLE"}
    _check_target(config, slot, target)
    if spec.release is None:
        return said | {"applied": [], "reason": "NO_RELEASE_COMMAND"}
    if dry_run:
        return said | {"applied": [], "reason": "DRY_RUN"}
    return said | {"applied": [command], "reason": None, "changes": _apply(config, slot, spec)}


def reset(config: Config, slot: SlotConfig) -> dict[str, Any]:
    """Give the slot its database as it was at the start: main's template, then `release:`.

    The backend is down meanwhile, and afterwards as it was, whatever came of it; a second reset
    waits for the first. Raises Refused as `migrate`, `template_missing`.
    """
    from host.postgres import administration

    target = _target(config, slot)
    spec = specs.read(slot)
    said: dict[str, Any] = {"target": _shown(target), "template": spec.template}
    if spec.is_idle:
        return said | {"reset": False, "reason": "SLOT_IDLE"}
    if spec.template is None:
        return said | {"reset": False, "reason": "NO_DATABASE"}
    admin = administration.Admin(config)
    if not admin.template_exists(spec.template):
        detail = f"{spec.template} is gone; retry the run, which builds it again."
        raise Refused("template_missing", detail)
    with admin.connected(), admin.exclusively(slot.database), _stopped(config, slot, spec):
        admin.clone(spec.template, slot.database, slot.database)
        _check_target(config, slot, target)
        changes = _apply(config, slot, spec) if spec.release else []
    return said | {"reset": True, "reason": None, "changes": changes}


@contextmanager
def _stopped(config: Config, slot: SlotConfig, spec: Spec) -> Iterator[None]:
    """Have the backend down within the body, then as it was; a refusal says how that went."""
    try:
        backend.stop(config, slot)
        yield
    except Refused as refusal:
        detail = f"{refusal.detail.rstrip()}\n{_put_back(config, slot, spec)}"
        raise Refused(
            refusal.code, detail, status=refusal.status, fields=refusal.fields
        ) from refusal
    except BaseException:
        _put_back(config, slot, spec)
        raise
    if spec.wanted == "up":
        backend.start(config, slot)


def _put_back(config: Config, slot: SlotConfig, spec: Spec) -> str:
    """Start the backend again after a reset that failed, if it ran; returns a sentence."""
    if spec.wanted != "up":
        return "The backend was stopped before, and still is."
    try:
        backend.start(config, slot)
    except Refused as refusal:
        return f"The backend was started again, and failed: {refusal.detail}"
    return "The backend runs again."


def _written(slot: SlotConfig, spec: Spec) -> list[str]:
    """Return the words of `release:` without the password that may be filled in."""
    if spec.release is None:
        return []
    password = specs.environment(slot).get("PGPASSWORD")
    return [word.replace(password, MASK) if password else word for word in spec.release]


def _shown(target: Target) -> str:
    return f"{target.scheme}://{target.host}:{target.port}/{target.database}"


def _target(config: Config, slot: SlotConfig) -> Target:
    """Return where the slot's database lies, once the URL and the server there were looked at."""
    from host.postgres import administration

    target = guard.target(config, slot)
    administration.Admin(config).check_server(target)
    return target


def _check_target(config: Config, slot: SlotConfig, target: Target) -> None:
    """Connect as the application would, and ask the server which database that is."""
    from host.postgres import administration

    password = specs.environment(slot).get("PGPASSWORD", "")
    administration.Admin(config).check_target(target, slot.database, password)


def _apply(config: Config, slot: SlotConfig, spec: Spec) -> list[dict[str, str]]:
    """Run `release:` and return what it changed in the schema."""
    target = guard.target(config, slot)
    environment = specs.environment(slot)
    url = guard.server_url(target, slot.database, environment.get("PGPASSWORD", ""))
    before = dump.schema(url)
    log = config.var / "log" / "slots" / f"{slot.slot_id}-migrate.log"
    log_files.rotate(log)
    done = runner.run(
        spec.release or (),
        cwd=spec.cwd,
        log=log,
        timeout=MIGRATE_SECONDS,
        env=environment,
        user=config.slot_user(slot),
    )
    if done.exit_code != 0:
        how = "took too long" if done.timed_out else f"ended with exit code {done.exit_code}"
        tail = safe_files.read_tail(log, LAST_LINES)
        raise Refused("migration_failed", f"release: {how}. Last lines of {log}:\n{tail}")
    changes = schema_changes(before, dump.schema(url))
    return [{"kind": change.kind, "text": change.text} for change in changes]
