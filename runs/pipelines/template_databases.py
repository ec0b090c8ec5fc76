"""Template databases: previews and merge gates are clones of them, one per target commit.

A template is an empty database in which that commit's `release:` ran and then its seed; it never
holds rows of production. A spare copy of the current one is kept, so that a preview takes that copy
and does not wait for PostgreSQL to make one.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings

from host import log_message
from host.app import environment
from host.app.application import Application
from host.app.dependencies.network_failures import find_network_failure
from host.app.resources import mail
from host.config import Config
from host.errors import ApplicationRefused, Refused
from host.files import log_files, ownership, safe_files
from host.git.bare_repository import Repository
from host.postgres import guard, schema_catalog, schema_snapshot
from host.postgres.guard import Target
from host.process import shutdown
from host.units.jobs import JobInterrupted
from runs.engine.artifacts import create_log_path
from runs.engine.step_context import CommandContext, StepContext
from runs.engine.step_errors import StepFailed, StepStopped
from runs.leasing import grants
from runs.pipelines import app_commands, template_storage
from runs.repository import find_preview_base, open_repository

log = logging.getLogger(__name__)

# The output of the target branch's commands, if it is broken.
MAIN_LOG = "main_log"
MAIN_LOG_LINES = 1000
# With these codes the target branch's own commands fail; others are failures of the host.
INSTALL_FAILURES = ("BUILD_FAILED", "EFFECT_MISSING")
BASE_FAILURES = (*INSTALL_FAILURES, "MIGRATION_FAILED", "STEP_TIMEOUT")
# Of the file that says why the target branch's commit has no template database.
FAILURE_SUFFIX = ".failure"


class DatabaseBusy(Exception):
    """Another process holds the lock of the database."""


@dataclass(frozen=True)
class BaseFailure:
    """Why the target branch's commit has no template database: its failure code, "" for a manifest
    that is refused, the message, and the output of its commands."""

    code: str
    detail: str
    log: str

    @property
    def is_of_install(self) -> bool:
        """Return whether it does not install: then nothing is known of its migrations."""
        return self.code in INSTALL_FAILURES


class BaseBroken(Exception):
    """The target branch's commit does not install, or does not migrate and seed a database."""

    def __init__(self, failure: BaseFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def ensure_base_template(
    context: CommandContext, repo: Repository, base: str, target: Target
) -> str:
    """Return the name of the template database of the target branch's commit, as `ensure_template`.

    A commit that failed is not tried again, since every preview would wait for it. Raises
    BaseBroken also then; `forget_failure` has the next one try it. Raises StepStopped, and nothing
    is known of the commit, if the worker ends.
    """
    name, log_start = guard.template_name(base), log_files.read_size(context.log)
    try:
        return ensure_template(
            context, repo, base, target, before=lambda: _raise_known_failure(context.config, base)
        )
    except (StepFailed, ApplicationRefused) as failed:
        if shutdown.wait_for_notice():
            raise StepStopped from failed  # the shutdown may have caused it
        code = failed.code if isinstance(failed, StepFailed) else ""
        if code and code not in BASE_FAILURES:
            raise  # it says nothing about the commit
        output = safe_files.read_tail(context.log, MAIN_LOG_LINES, log_start)
        text = context.mask(log_message.strip_terminal_codes(output))
        failure = BaseFailure(code, str(failed), text)
        # What may pass by itself is tried again.
        if code != "STEP_TIMEOUT" and find_network_failure(text) is None:
            _remember_failure(context.config, name, failure)
        raise BaseBroken(failure) from failed


def ensure_template(
    context: CommandContext,
    repo: Repository,
    commit: str,
    target: Target,
    *,
    before: Callable[[], None] = lambda: None,
) -> str:
    """Return the name of the commit's template database, which is built if it is missing.

    Waits while another process builds it, and calls `before` when it is the one to build it. Raises
    StepStopped (also while it waits), StepFailed, ApplicationRefused, and what `before` raises.
    """
    from host.postgres.administration import DatabaseAdmin

    name = guard.template_name(commit)
    admin = DatabaseAdmin(context.config)
    if admin.has_template(name):
        return name
    with admin.database_lock(name, context.raise_if_stopping):
        if not admin.has_template(name):
            before()
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
    try:
        return ensure_base_template(context, repo, base, target)
    except BaseBroken as broken:
        cause = _describe_broken_base(context, base, broken.failure)
    context.write_log(f"{cause}\nmaking the database from empty with {commit}")
    try:
        template = ensure_template(context, repo, commit, target)
    except (StepFailed, ApplicationRefused) as failed:
        detail = f"{cause}\nThis commit cannot make its database from empty either: {failed}"
        raise StepFailed("MAIN_BROKEN", detail) from failed
    first_line = cause.partition("\n")[0].rstrip(".:")
    context.set_notes([f"{first_line}; so the commit's own release: and seed made the database."])
    return template


def raise_if_base_does_not_install(
    context: StepContext, repo: Repository, base: str, target: Target, failed: StepFailed
) -> None:
    """Raise StepFailed MAIN_BROKEN if the base does not install either, as this commit.

    `failed` is this commit's failure. The base is tried unless its template database exists.
    """
    try:
        ensure_base_template(context, repo, base, target)
    except BaseBroken as broken:
        if broken.failure.is_of_install:
            cause = _describe_broken_base(context, base, broken.failure)
            detail = f"{cause}\nThis commit does not install either: {failed}"
            raise StepFailed("MAIN_BROKEN", detail) from failed


def explain_refusal_of_base(
    context: StepContext, repo: Repository, base: str, refused: ApplicationRefused
) -> str:
    """Return that the base's files are refused for the reason `refused` too; "" if they are not.

    A commit may be refused for what the base has, as with a dependency that no lock file has.
    """
    from host.postgres.administration import DatabaseAdmin

    config, name = context.config, guard.template_name(base)
    root = config.var / "templates" / name
    with DatabaseAdmin(config).database_lock(name, context.raise_if_stopping):
        try:
            app_commands.write_application(context, repo, base, root, config.job_user)
        except ApplicationRefused as found:
            if found.detail == refused.detail:
                return (
                    f"{config.target_branch} itself ({base[:12]}) is refused for the same reason: "
                    "a branch that corrects it can be previewed and merged as usual."
                )
        finally:
            ownership.delete_tree(root)
    return ""


def _describe_broken_base(context: StepContext, base: str, failure: BaseFailure) -> str:
    """Return the cause as sentences, and save the base's output as the artifact MAIN_LOG."""
    context.save_artifact(MAIN_LOG, failure.log)
    branch = context.config.target_branch
    return (
        f"{branch} itself ({base[:12]}) does not install, or does not migrate and seed an empty "
        f"database: {failure.detail}"
    )


def _failure_path(config: Config, template: str) -> Path:
    return config.var / "templates" / f"{template}{FAILURE_SUFFIX}"


def _remember_failure(config: Config, template: str, failure: BaseFailure) -> None:
    path = _failure_path(config, template)
    for other in path.parent.glob(f"*{FAILURE_SUFFIX}"):  # of earlier commits of the target branch
        other.unlink(missing_ok=True)
    safe_files.write_atomic(path, json.dumps(asdict(failure)).encode(), 0o600)


def _raise_known_failure(config: Config, base: str) -> None:
    """Raise BaseBroken if an earlier attempt to build the commit's template database failed."""
    with suppress(FileNotFoundError):
        raw = _failure_path(config, guard.template_name(base)).read_text()
        raise BaseBroken(BaseFailure(**json.loads(raw)))


def forget_failure(config: Config, commit: str) -> None:
    """Have the next preview try again to build the template database of that commit."""
    _failure_path(config, guard.template_name(commit)).unlink(missing_ok=True)


def read_template_schema(config: Config, template: str) -> str | None:
    """Return the schema of a template and so of a new clone, as JSON; None if not recorded."""
    path = template_schema_path(config, template)
    return path.read_text() if path.exists() else None


def template_schema_path(config: Config, template: str) -> Path:
    """Return the path of the recorded schema of a template."""
    return config.var / "templates" / f"{template}.json"


def build_current_template() -> str:
    """Build the template of the target branch's head in advance of the next preview.

    Returns why it could not be built; "" if it was. What ends with the worker is repeated for the
    next preview.
    """
    config = settings.OROBOROS
    repo = open_repository(config)
    output = create_log_path(config, "templates")
    work = CommandContext(config, output, f"template:{uuid.uuid4()}")
    base = find_preview_base(repo, config.target_branch)
    try:
        ensure_base_template(work, repo, base, guard.resolve_target(config, config.slots[0]))
    except (StepFailed, BaseBroken) as failed:
        # No run waits for it: the next preview reports the failure.
        log.warning("the template database of %s was not built: %s", base, failed)
        return str(failed)
    except (StepStopped, Refused) as stopped:
        if not (isinstance(stopped, StepStopped | JobInterrupted) or shutdown.wait_for_notice()):
            raise
        return str(stopped) or "The worker ended before it was built."
    ensure_spare(config)
    return ""


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
    found = folder.iterdir() if folder.is_dir() else ()
    # A failure is what is known of a template that does not exist.
    names = {path.stem for path in found if path.suffix != FAILURE_SUFFIX}
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
            admin.create_extensions(name, name, app.manifest.extensions)
            variables |= app_commands.build_redis_variables(context, app)
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
    app_commands.seal(app)
    app_commands.run_sealed_release_command(context, app, variables, purpose="template")
    # Production has no seed: what it writes beside the code is deleted with the tree.
    ownership.allow_new_files(app.root, app.user)
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
