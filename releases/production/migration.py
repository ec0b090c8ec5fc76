"""Migrates production's database in a deployment: its `release:` command, and what that changed.

A migration that waits for a lock makes every later query of that table wait behind it, so visitors
would hang for as long as a report or a forgotten session holds the table. `release:` therefore
waits for a short time only, and is repeated.
"""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg

from host import log_message
from host.app.command_runner import CommandFailed, run_command
from host.app.planning import Command
from host.config import Config
from host.files import log_files, safe_files
from host.postgres import schema_catalog, schema_snapshot
from host.postgres.schema_diff import compare_schemas
from releases.builds.build_folders import source_folder
from releases.builds.launch_spec import LaunchSpec, read_launch_spec
from releases.production import colours
from releases.production.database import ensure_production_database, production_database_url
from releases.production.deployment_context import DeploymentContext, append_to_log
from releases.production.restore_point import create_restore_point, restore_folder

LOCK_TIMEOUT_SECONDS = 5
RETRIES = 5
FIRST_PAUSE_SECONDS = 2.0
POLL_SECONDS = 0.1
TAIL_LINES = 400
# PostgreSQL's error 55P03, as the server, psycopg and other drivers print it.
LOCK_TIMEOUT = re.compile(r"canceling statement due to lock timeout|LockNotAvailable|\b55P03\b")
PROGRESS_LENGTH = 200  # of the deployment's column
# The role sees the queries of its own sessions; of others only that they exist.
LOCK_HOLDER_QUERY = (
    "SELECT pid, left(query, 200) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1"
)
SUBJECT = "`release:` on production"


class MigrationFailed(Exception):
    """The application's `release:` command failed; nothing was switched."""


def migrate(context: DeploymentContext) -> None:
    """Run the new build's `release:` on production's database, after a restore point.

    The snapshot of the earlier schema stays in a file until `record_schema_changes` has compared
    it, so that a second attempt after a crash still finds what the first one changed. Raises
    MigrationFailed, RestorePointFailed, Refused.
    """
    config, release = context.config, context.release
    spec = read_launch_spec(config, release.pk)
    # An application of static files needs no database.
    if spec.web is not None or spec.release is not None:
        ensure_production_database(config)
    if spec.release is None or _is_migrated(context):
        return
    before = _schema_before_path(context)
    if not before.exists():
        before.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        schema = schema_catalog.read_schema(production_database_url(config))
        safe_files.write_atomic(before, schema_snapshot.to_json(schema).encode(), 0o600)
    # Without new migrations `release:` still runs, but usually changes nothing: no dump.
    if release.migrations:
        create_restore_point(context)
    context.report_progress("running release: on production")
    _run_release_command(context, spec, spec.release)


def is_migration_failure(detail: str) -> bool:
    """Return whether a failed deployment's detail is that of MigrationFailed."""
    return detail.startswith(SUBJECT)


def record_schema_changes(context: DeploymentContext) -> None:
    """Record in the release what its migration changed, whether or not the release will serve.

    Does nothing if nothing was migrated or the changes are recorded already. Raises Refused
    `schema_unreadable`.
    """
    path = _schema_before_path(context)
    if not path.exists():
        return
    before = schema_snapshot.from_json(path.read_text())
    after = schema_catalog.read_schema(production_database_url(context.config))
    context.raise_if_stopping()
    context.release.record_schema_changes(
        [{"kind": change.kind, "text": change.text} for change in compare_schemas(before, after)]
    )
    path.unlink()


def _schema_before_path(context: DeploymentContext) -> Path:
    return restore_folder(context.config) / f"{context.deployment.number}.schema.json"


def _is_migrated(context: DeploymentContext) -> bool:
    """Return whether this deployment, not an earlier one of the release, has migrated."""
    migrated_at = context.release.migrated_at
    return migrated_at is not None and migrated_at >= context.deployment.started_at


def _describe_lock_holders(config: Config) -> str:
    """Return a sentence about the longest transaction on production's database; "" if unknown."""
    try:
        with psycopg.connect(production_database_url(config), connect_timeout=5) as connection:
            row = connection.execute(LOCK_HOLDER_QUERY).fetchone()
    except psycopg.Error:
        return ""
    return f"The longest transaction is that of process {row[0]}: {row[1]}" if row else ""


def _run_release_command(context: DeploymentContext, spec: LaunchSpec, command: Command) -> None:
    config, release = context.config, context.release
    root = source_folder(config, release.pk)
    # The new colour's environment, so that `release:` sees what the new processes will see.
    env = colours.build_environment(config, release, context.deployment.colour, spec)

    def run() -> None:
        run_command(
            command,
            config,
            root=root,
            bins=spec.bins,
            env=add_lock_timeout(config, env),
            log=context.log,
            user=config.app_user,
            stop=context.is_stopping,
            job=context.job_mark,
        )

    def report(text: str) -> None:
        append_to_log(context.log, text)
        context.report_progress(text[:PROGRESS_LENGTH])

    try:
        _run_with_retries(
            run, context.log, report, context.is_stopping, lambda: _describe_lock_holders(config)
        )
    except CommandFailed as failed:
        context.raise_if_stopping()
        message = log_message.read_message(context.log)
        detail = f"{SUBJECT} {failed.reason}:\n{message}"
        explained = colours.explain_start(context, context.deployment, detail, command)
        raise MigrationFailed(explained) from failed
    context.raise_if_stopping()


def add_lock_timeout(config: Config, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with PGOPTIONS that limit the wait for a lock.

    RELEASE_LOCK_TIMEOUT_SECONDS sets the limit, 0 none. Options that are there stay, after ours: a
    later one wins. Programs that do not use libpq may ignore them. Source:
    https://www.postgresql.org/docs/current/libpq-envars.html
    """
    seconds = read_lock_timeout(config)
    if seconds == 0:
        return dict(env)
    options = f"-c lock_timeout={seconds}s {env.get('PGOPTIONS', '')}".rstrip()
    return {**env, "PGOPTIONS": options}


def read_lock_timeout(config: Config) -> int:
    """Return for how many seconds `release:` waits for a lock; 0 is without a limit."""
    return config.get_integer("RELEASE_LOCK_TIMEOUT_SECONDS", LOCK_TIMEOUT_SECONDS)


def _run_with_retries(
    run: Callable[[], None],
    log: Path,
    report: Callable[[str], None],
    stop: Callable[[], bool],
    describe_locks: Callable[[], str],
) -> None:
    """Call `run`, again up to RETRIES times while a lock timeout ends it. Raises CommandFailed.

    `describe_locks` returns a sentence about the sessions that hold locks, "" if there is none.
    Each pause is twice as long as the one before, and ends when `stop` returns true.
    """
    holders = ""
    for attempt in range(RETRIES + 1):
        log_start = log_files.read_size(log)
        try:
            run()
            return
        except CommandFailed as failed:
            tail = safe_files.read_tail(log, TAIL_LINES, log_start)
            if stop() or not LOCK_TIMEOUT.search(tail):
                raise
            holders = describe_locks() or holders
            if attempt == RETRIES:
                reason = f"waited too long for a lock, {RETRIES + 1} times. {holders}".rstrip()
                raise CommandFailed("release", reason) from failed
        seconds = FIRST_PAUSE_SECONDS * 2**attempt
        report(
            f"`release:` waited too long for a lock; again in {seconds:.0f} s. {holders}".rstrip()
        )
        _pause(seconds, stop)


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop():
        time.sleep(POLL_SECONDS)
