"""The databases that previews and gates are clones of, one for each commit of the target branch.

A template is an empty database, then that commit's `release:`, then its seed; never rows of
production. Of today's one a spare copy is kept, so that nobody waits while it is copied.
"""

import logging
import uuid
from pathlib import Path

from django.conf import settings

from host.app import environment
from host.config import Config
from host.errors import Refused
from host.files import ownership, safe_files
from host.git.bare_repository import Repository
from host.postgres import dump, guard
from host.postgres.guard import Target
from runs.engine.step_context import StepFailed, Work
from runs.leasing import grants
from runs.pipelines import app_commands
from runs.pipelines.app_commands import Application
from runs.repository import repository, shown_base

log = logging.getLogger(__name__)


def ensure(context: Work, repo: Repository, commit: str, target: Target) -> str:
    """Return the name of the sealed template of that commit, built if it is missing.

    Raises Stopped, also while another run builds it, and StepFailed.
    """
    from host.postgres.administration import Admin

    name = guard.template_name(commit)
    admin = Admin(context.config)
    if admin.template_exists(name):
        return name
    with admin.exclusively(name, context.check):
        if not admin.template_exists(name):
            context.say(f"building {name}")
            _build(context, repo, commit, name, target)
    return name


def schema(config: Config, template: str) -> str | None:
    """Return the schema of a template, which its clones have before they migrate, if it is kept."""
    path = schema_file(config, template)
    return path.read_text() if path.exists() else None


def schema_file(config: Config, template: str) -> Path:
    """Return where the schema of a template lies."""
    return config.var / "templates" / f"{template}.sql"


def warm() -> None:
    """Build the template of the target branch as it is now, so that the next preview need not."""
    config = settings.OROBOROS
    repo = repository(config)
    output = config.var / "log" / "templates.log"
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Work(config, output, f"template:{uuid.uuid4()}")
    base = shown_base(repo, config.target_branch)
    try:
        ensure(work, repo, base, guard.target(config, config.slots[0]))
    except StepFailed as failed:
        log.warning("the template of %s is not made: %s", base, failed)
        return
    keep_spare(config)


def keep_spare(config: Config) -> bool:
    """Have a spare copy of the target branch's template, if that is built. True if one was made.

    None is made while the host has no room for another preview either.
    """
    from host.postgres.administration import Admin

    repo = repository(config)
    if grants.refusal():
        return False
    try:
        base = shown_base(repo, config.target_branch)
    except Refused:  # nothing was fetched yet
        return False
    return Admin(config).keep_spare(guard.template_name(base))


def _build(context: Work, repo: Repository, commit: str, name: str, target: Target) -> None:
    from host.postgres import administration

    admin = administration.Admin(context.config)
    root = context.config.var / "templates" / name
    try:
        app = _target_app(context, repo, commit, root)
        admin.drop(guard.spare_name(name))  # a copy of what somebody dropped to have it built anew
        password = admin.ensure_role(guard.TEMPLATE_ROLE)
        admin.create(name, guard.TEMPLATE_ROLE)
        url = app_commands.url_for(target, name, guard.TEMPLATE_ROLE, password)
        given = {**environment.for_database(url), "OROBOROS_COMMIT": commit}
        if app is not None:
            app_commands.migrate(context, app, given, purpose="template")
            seed = [app.plan.seed] if app.plan.seed is not None else []
            app_commands.run_all(
                context, app, seed, given, purpose="template", code="MIGRATION_FAILED"
            )
        kept = dump.schema(app_commands.libpq(url))
        safe_files.write_atomic(schema_file(context.config, name), kept.encode(), 0o600)
        admin.seal_template(name)
    finally:
        ownership.delete(root)


def _target_app(context: Work, repo: Repository, commit: str, root: Path) -> Application | None:
    """Return the target branch's application, installed; None where it does not say how to run.

    So the branch that brings the manifest can be looked at: its database begins empty.
    """
    try:
        app = app_commands.lay_out(context, repo, commit, root, context.config.job_user)
    except Refused as refused:
        if refused.code not in ("manifest_invalid", "command_refused"):
            raise
        context.say(f"the template is empty: {refused.detail}")
        return None
    app_commands.install(context, app)
    return app
