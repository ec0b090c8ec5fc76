"""Migrates production's database in a deployment: its `release:` command, and what that changed."""

from collections.abc import Sequence
from pathlib import Path

from host import log_message
from host.app.command_runner import CommandFailed, run_command
from host.app.planning import Command
from host.errors import Refused
from host.files import safe_files
from host.postgres import administration, lock_timeout, schema_catalog, schema_snapshot
from host.postgres.schema_diff import compare_schemas
from releases.builds.build_folders import source_folder
from releases.builds.launch_spec import LaunchSpec, read_launch_spec
from releases.deployment_failures import MIGRATION_SUBJECT
from releases.production import colours
from releases.production.database import (
    ensure_production_database,
    production_database_url,
    release_database_url,
)
from releases.production.deployment_context import DeploymentContext, append_to_log
from releases.production.restore_point import create_restore_point, restore_folder

PROGRESS_LENGTH = 200  # of the deployment's column


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
    extensions = spec.manifest.extensions
    if (spec.release is None and not extensions) or _is_migrated(context):
        return
    before = _schema_before_path(context)
    if not before.exists():
        before.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        schema = schema_catalog.read_schema(production_database_url(config))
        safe_files.write_atomic(before, schema_snapshot.to_json(schema).encode(), 0o600)
    # Without new migrations `release:` still runs, but usually changes nothing: no dump.
    if release.migrations:
        create_restore_point(context)
    _create_extensions(context, extensions)
    if spec.release is not None:
        context.report_progress("running release: on production")
        _run_release_command(context, spec, spec.release)


def _create_extensions(context: DeploymentContext, names: Sequence[str]) -> None:
    name = context.config.production_database
    admin = administration.DatabaseAdmin(context.config, production=True)
    try:
        admin.create_extensions(name, name, names)
    except Refused as refused:
        if refused.code != "extension_refused":
            raise
        raise MigrationFailed(refused.detail) from refused


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


def _run_release_command(context: DeploymentContext, spec: LaunchSpec, command: Command) -> None:
    config = context.config

    def report(text: str) -> None:
        append_to_log(context.log, text)
        context.report_progress(text[:PROGRESS_LENGTH])

    def describe_locks() -> str:
        return lock_timeout.describe_lock_holders(production_database_url(config))

    try:
        with release_database_url(config) as url:
            lock_timeout.run_with_retries(
                lambda: _run_once(context, spec, command, url),
                context.log,
                report,
                context.is_stopping,
                describe_locks,
            )
    except CommandFailed as failed:
        context.raise_if_stopping()
        message = log_message.read_message(context.log, failed.log_start)
        detail = f"{MIGRATION_SUBJECT} {failed.reason}:\n{message}"
        explained = colours.explain_start(context, context.deployment, detail, command)
        raise MigrationFailed(explained) from failed
    context.raise_if_stopping()


def _run_once(context: DeploymentContext, spec: LaunchSpec, command: Command, url: str) -> None:
    config, release, colour = context.config, context.release, context.deployment.colour
    run_command(
        command,
        config,
        root=source_folder(config, release.pk),
        bins=spec.bins,
        # The new colour's environment, so that `release:` sees what the new processes will see.
        env=colours.build_environment(config, release, colour, spec, url),
        log=context.log,
        user=config.app_user,
        stop=context.is_stopping,
        job=context.job_mark,
    )
