"""Template databases: previews and merge gates are clones of them, one per target commit.

A template is an empty database in which that commit's `release:` ran and then its seed; it never
holds rows of production. A spare copy of the current one is kept, so that a preview takes that copy
and does not wait for PostgreSQL to make one.
"""

import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from host import log_message
from host.app import environment
from host.app.application import Application
from host.app.resources import mail
from host.config import Config
from host.errors import ApplicationRefused, Refused
from host.files import log_files, ownership, safe_files
from host.git.bare_repository import Repository
from host.postgres import guard, schema_catalog, schema_snapshot
from host.postgres.guard import Target
from runs.engine.artifacts import create_log_path
from runs.engine.step_context import CommandContext, StepContext
from runs.engine.step_errors import StepFailed
from runs.leasing import grants
from runs.pipelines import app_commands, template_storage
from runs.repository import find_preview_base, open_repository

log = logging.getLogger(__name__)

# The output of the target branch's commands, if it is broken.
MAIN_LOG = "main_log"
MAIN_LOG_LINES = 1000
# With these codes the target branch's own commands fail; others are failures of the host.
BASE_FAILURES = ("MIGRATION_FAILED", "BUILD_FAILED", "EFFECT_MISSING", "STEP_TIMEOUT")


class DatabaseBusy(Exception):
    """Another process holds the lock of the database."""


def ensure_template(context: CommandContext, repo: Repository, commit: str, target: Target) -> str:
    """Return the name of the commit's template database, which is built if it is missing.

    Waits while another process builds it. Raises StepStopped (also while it waits), StepFailed.
    """
    from host.postgres.administration import DatabaseAdmin

    name = guard.template_name(commit)
    admin = DatabaseAdmin(context.config)
    if admin.has_template(name):
        return name
    with admin.database_lock(name, context.raise_if_stopping):
        if not admin.has_template(name):
            context.write_log(f"building {name}")
            _build_template(context, repo, commit, name, target)
    return name


def ensure_run_template(
    context: StepContext, repo: Repository, base: str, commit: str, target: Target
) -> str:
    """Return the template for a run: the base's, or if the base is broken one of `commit` itself.

    The base is broken if it does not install or does not migrate and seed an empty database. Then
    the run's own commit makes the database from empty, so that a branch that repairs the base can
    be previewed and shipped; a note says so. Raises StepStopped, and StepFailed MAIN_BROKEN if
    `commit` cannot do it either; the base's log is the artifact MAIN_LOG.
    """
    log_start = log_files.read_size(context.log)
    try:
        return ensure_template(context, repo, base, target)
    except (StepFailed, ApplicationRefused) as failed:
        cause = _describe_broken_base(context, base, failed)
    main_log = safe_files.read_tail(context.log, MAIN_LOG_LINES, log_start)
    context.save_artifact(MAIN_LOG, log_message.strip_terminal_codes(main_log))
    context.write_log(f"{cause}\nmaking the database from empty with {commit}")
    try:
        template = ensure_template(context, repo, commit, target)
    except (StepFailed, ApplicationRefused) as failed:
        detail = f"{cause}\nThis commit cannot make its database from empty either: {failed}"
        raise StepFailed("MAIN_BROKEN", detail) from failed
    first_line = cause.partition("\n")[0].rstrip(".:")
    context.set_notes([f"{first_line}; so the commit's own release: and seed made the database."])
    return template


def _describe_broken_base(context: StepContext, base: str, failed: Exception) -> str:
    """Return the cause as sentences. Raises `failed` again if it says nothing about the base."""
    if isinstance(failed, StepFailed) and failed.code not in BASE_FAILURES:
        raise failed
    branch = context.config.target_branch
    return (
        f"{branch} itself ({base[:12]}) does not install, or does not migrate and seed an empty "
        f"database: {failed}"
    )


def read_template_schema(config: Config, template: str) -> str | None:
    """Return the schema of a template and so of a new clone, as JSON; None if not recorded."""
    path = template_schema_path(config, template)
    return path.read_text() if path.exists() else None


def template_schema_path(config: Config, template: str) -> Path:
    """Return the path of the recorded schema of a template."""
    return config.var / "templates" / f"{template}.json"


def build_current_template() -> None:
    """Build the template of the target branch's head in advance of the next preview."""
    config = settings.OROBOROS
    repo = open_repository(config)
    output = create_log_path(config, "templates")
    work = CommandContext(config, output, f"template:{uuid.uuid4()}")
    base = find_preview_base(repo, config.target_branch)
    try:
        ensure_template(work, repo, base, guard.resolve_target(config, config.slots[0]))
    except (StepFailed, ApplicationRefused) as failed:
        # No run waits for it: the next preview builds it again and reports the failure.
        log.warning("the template database of %s was not built: %s", base, failed)
        return
    ensure_spare(config)


def ensure_spare(config: Config) -> bool:
    """Copy the current template if it exists and has no spare copy. Returns whether it was copied.

    Nothing is copied while the host lacks the capacity for another preview.
    """
    from host.postgres.administration import DatabaseAdmin

    repo = open_repository(config)
    if grants.explain_refusal():
        return False
    try:
        base = find_preview_base(repo, config.target_branch)
    except Refused:  # nothing was fetched yet
        return False
    return DatabaseAdmin(config).ensure_spare(guard.template_name(base))


def drop_template(config: Config, name: str) -> None:
    """Drop a template database with its role, recorded schema and storage; may be repeated."""
    from host.postgres.administration import DatabaseAdmin

    DatabaseAdmin(config).drop(name)
    _remove_files(config, name)


def _remove_files(config: Config, name: str) -> None:
    template_schema_path(config, name).unlink(missing_ok=True)
    template_storage.remove(config, name)


def remove_strays(config: Config) -> None:
    """Remove what killed builds of templates left: roles without a database, trees, files."""
    from host.postgres.administration import DatabaseAdmin

    admin = DatabaseAdmin(config)
    folder = config.var / "templates"
    names = {path.stem for path in folder.iterdir()} if folder.is_dir() else set()
    strays = {*names, *admin.list_own_roles()} - {*admin.list_templates()}
    strays |= {path.name for path in folder.glob("*/")}
    for name in filter(guard.TEMPLATE_NAME.fullmatch, strays):
        # A build holds this lock, also before there is a database.
        with suppress(DatabaseBusy), admin.database_lock(name, _refuse_to_wait):
            ownership.delete_tree(folder / name)
            if not admin.exists(name):
                admin.drop_role(name)
                _remove_files(config, name)


def _refuse_to_wait() -> None:
    raise DatabaseBusy


def _build_template(
    context: CommandContext, repo: Repository, commit: str, name: str, target: Target
) -> None:
    from host.postgres import administration

    admin = administration.DatabaseAdmin(context.config)
    root = context.config.var / "templates" / name
    try:
        app = _install_target(context, repo, commit, root)
        admin.drop(guard.spare_name(name))  # of an earlier template that was dropped by hand
        password = admin.ensure_role(name)
        admin.create(name, name)
        url = app_commands.database_url(target, name, name, password)
        variables = {
            **environment.build_database_variables(url),
            **environment.build_source_variables(commit, context.config.target_branch),
            **mail.build_variables(context.config.discard_port),
        }
        if app is not None:
            _migrate_and_seed(context, app, variables)
        template_storage.save(context.config, name, app)
        schema = schema_snapshot.to_json(schema_catalog.read_schema(guard.strip_driver(url)))
        safe_files.write_atomic(template_schema_path(context.config, name), schema.encode(), 0o600)
        # Last: an unsealed template counts as missing, so an interrupted build is repeated.
        admin.seal_template(name)
    finally:
        ownership.delete_tree(root)


def _migrate_and_seed(
    context: CommandContext, app: Application, variables: Mapping[str, str]
) -> None:
    app_commands.run_release_command(context, app, variables, purpose="template")
    seed = [app.plan.seed] if app.plan.seed is not None else []
    app_commands.run_commands(
        context, app, seed, variables, purpose="template", code="MIGRATION_FAILED"
    )


def _install_target(
    context: CommandContext, repo: Repository, commit: str, root: Path
) -> Application | None:
    """Return the target branch's application, installed; None if it has no usable manifest.

    Then the template is empty, and a branch that adds the manifest can still be previewed.
    """
    try:
        app = app_commands.write_application(context, repo, commit, root, context.config.job_user)
    except ApplicationRefused as refused:
        context.write_log(f"the template is empty: {refused.detail}")
        return None
    app_commands.install_application(context, app)
    return app
