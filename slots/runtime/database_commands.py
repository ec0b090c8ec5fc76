"""The database guard before a start, and migrating and resetting a slot's database by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from host import log_message
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import log_files
from host.postgres import guard
from host.postgres.guard import Target
from slots.runtime import backend
from slots.runtime import spec as specs
from slots.runtime.spec import Spec

MIGRATE_SECONDS = 1800.0


def check_database(config: Config, slot: SlotConfig) -> None:
    """Run the database guard for the backend that the slot's spec would start.

    Checks the URL template and its server, then the backend's environment and the database that
    its role reaches. Raises Refused `unsafe_database_target`, `database_unreachable`.
    """
    target = _resolve_target(config, slot)
    if specs.read(slot).is_idle:
        return
    environment = specs.read_environment(slot)
    guard.check_environment(target, slot.database, environment)
    if guard.database_name(environment) is not None:
        _check_target(config, slot, target)


def migrate(config: Config, slot: SlotConfig, *, dry_run: bool = False) -> dict[str, Any]:
    """Run the application's `release:` on the slot's database; a dry run only runs the guard.

    Raises Refused `unsafe_database_target` before anything is done, `migration_failed`.
    """
    target = _resolve_target(config, slot)
    spec = specs.read(slot)
    command = _mask_release_command(slot, spec)
    answer = {"dry_run": dry_run, "target": _format_target(target), "command": command}
    if spec.is_idle:
        return answer | {"applied": [], "reason": "SLOT_IDLE"}
    _check_target(config, slot, target)
    if spec.release is None:
        return answer | {"applied": [], "reason": "NO_RELEASE_COMMAND"}
    if dry_run:
        return answer | {"applied": [], "reason": "DRY_RUN"}
    result = _run_release_command(config, slot, spec)
    return answer | {"applied": [command], "reason": None} | result


def reset(config: Config, slot: SlotConfig) -> dict[str, Any]:
    """Replace the slot's database with a clone of its template, then run `release:`.

    The backend is stopped meanwhile, and afterwards up or down as before, even if the reset fails.
    A second reset waits for the first. Raises Refused as `migrate`, `template_missing`.
    """
    # psycopg takes 0.2 s to import, and the other commands do without it.
    from host.postgres.administration import DatabaseAdmin

    target = _resolve_target(config, slot)
    spec = specs.read(slot)
    answer: dict[str, Any] = {"target": _format_target(target), "template": spec.template}
    if spec.is_idle:
        return answer | {"reset": False, "reason": "SLOT_IDLE"}
    if spec.template is None:
        return answer | {"reset": False, "reason": "NO_DATABASE"}
    admin = DatabaseAdmin(config)
    if not admin.has_template(spec.template):
        detail = f"{spec.template} no longer exists; retry the run, which builds it again."
        raise Refused("template_missing", detail)
    with admin.connection(), admin.database_lock(slot.database), _pause_backend(config, slot):
        admin.clone(spec.template, slot.database, slot.database)
        admin.create_extensions(slot.database, slot.database, spec.extensions)
        _check_target(config, slot, target)
        result = _run_release_command(config, slot, spec) if spec.release else {"changes": []}
    return answer | {"reset": True, "reason": None} | result


@contextmanager
def _pause_backend(config: Config, slot: SlotConfig) -> Iterator[None]:
    """Stop the backend while the block runs, then start it if it was up.

    If the block raises Refused, a sentence about the backend is added to its detail.
    """
    spec = specs.read(slot)  # within the lock: another reset stops the backend meanwhile
    try:
        backend.stop(config, slot)
        yield
    except Refused as refusal:
        detail = f"{refusal.detail.rstrip()}\n{_restore_backend(config, slot, spec)}"
        raise Refused(
            refusal.code, detail, status=refusal.status, fields=refusal.fields
        ) from refusal
    # Also Ctrl-C: the commands are run by hand.
    except BaseException:
        _restore_backend(config, slot, spec)
        raise
    if spec.wanted == "up":
        backend.start(config, slot)


def _restore_backend(config: Config, slot: SlotConfig, spec: Spec) -> str:
    """Start the backend again after a reset that failed, if it was up; return a sentence."""
    if spec.wanted != "up":
        return "The backend was stopped before, and still is."
    try:
        backend.start(config, slot)
    except Refused as refusal:
        return f"The backend was started again, and failed: {refusal.detail}"
    return "The backend runs again."


def _mask_release_command(slot: SlotConfig, spec: Spec) -> list[str]:
    """Return the words of `release:`, with a mask in place of the database's password."""
    from host.app.environment import MASK  # the guard before a start does without it

    if spec.release is None:
        return []
    password = specs.read_environment(slot).get("PGPASSWORD")
    return [word.replace(password, MASK) if password else word for word in spec.release]


def _format_target(target: Target) -> str:
    return f"{target.scheme}://{target.host}:{target.port}/{target.database}"


def _resolve_target(config: Config, slot: SlotConfig) -> Target:
    """Return the slot's target after the guard has checked the URL template and its server."""
    target = guard.resolve_target(config, slot)
    if not guard.is_administrators_address(config, target):
        from host.postgres.administration import DatabaseAdmin  # imports psycopg

        DatabaseAdmin(config).check_server(target)
    return target


def _check_target(config: Config, slot: SlotConfig, target: Target) -> None:
    """Connect as the application would, and check which database answers."""
    from host.postgres.administration import DatabaseAdmin

    password = specs.read_environment(slot).get("PGPASSWORD", "")
    DatabaseAdmin(config).check_target(target, slot.database, password)


def _run_release_command(config: Config, slot: SlotConfig, spec: Spec) -> dict[str, Any]:
    """Run `release:`; return its changes to the schema, and notes on the locks it waited for.

    Raises Refused `migration_failed`.
    """
    from host.postgres.administration import DatabaseAdmin
    from host.postgres.lock_timeout import read_lock_timeout
    from host.postgres.schema_catalog import read_schema
    from host.postgres.schema_diff import compare_schemas

    target = guard.resolve_target(config, slot)
    environment = specs.read_environment(slot)
    url = guard.server_url(target, slot.database, environment.get("PGPASSWORD", ""))
    before = read_schema(url)
    seconds = read_lock_timeout(config)
    with DatabaseAdmin(config).limit_lock_waits(slot.database, slot.database, seconds):
        notes = _run_with_retries(config, slot, spec, environment, url)
    changes = compare_schemas(before, read_schema(url))
    listed = [{"kind": change.kind, "text": change.text} for change in changes]
    return {"changes": listed, "notes": notes}


def _run_with_retries(
    config: Config, slot: SlotConfig, spec: Spec, environment: dict[str, str], url: str
) -> list[str]:
    """Run `release:`, again if it waits too long for a lock; return a note on each such wait."""
    from host.app.command_runner import CommandFailed, run_prepared
    from host.masking.known_secrets import read_masks
    from host.postgres import lock_timeout

    notes: list[str] = []
    log = config.var / "log" / "slots" / f"{slot.slot_id}-migrate.log"
    log_files.rotate(log)
    try:
        lock_timeout.run_with_retries(
            lambda: run_prepared(
                "release",
                spec.release or (),
                cwd=spec.cwd,
                env=environment,
                log=log,
                user=config.slot_user(slot),
                timeout=MIGRATE_SECONDS,
                masks=read_masks(config),
            ),
            log,
            notes.append,
            lambda: False,
            lambda: lock_timeout.describe_lock_holders(url),
        )
    except CommandFailed as failed:
        message = log_message.read_message(log, failed.log_start)
        detail = f"release: {failed.reason}; {log} says:\n{message}"
        raise Refused("migration_failed", detail) from failed
    return notes
