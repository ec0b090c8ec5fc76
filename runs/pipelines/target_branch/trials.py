"""Tries on the target branch what failed on a run, whose author may not be the cause.

A build of the base in a preview; its check, its build for production and its start in the merge
gate. A base that was built or merged here has passed them, so only commits that were pushed past us
are tried, and only after a failure.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from host import log_message
from host.app.application import Application
from host.app.planning import Command
from host.errors import ApplicationRefused, Refused
from host.files import log_files, ownership, safe_files
from host.postgres import guard
from releases.builds import build
from releases.builds.build import BuildFailed
from releases.models import DeploymentLost, Release
from runs.engine.step_context import StepContext
from runs.engine.step_errors import StepFailed, StepStopped
from runs.models import Run
from runs.pipelines import app_commands, template_databases
from runs.repository import find_preview_base, open_repository
from runs.rules import Status


def build_run(
    context: StepContext, app: Application, variables: Mapping[str, str], *, purpose: str
) -> None:
    """Run the builds as `app_commands.build_application`.

    Raises StepFailed MAIN_BROKEN if the target branch does not build either.
    """
    try:
        app_commands.build_application(context, app, variables, purpose=purpose)
    except StepFailed as failed:
        if failed.code == "BUILD_FAILED":
            _raise_if_base_does_not_build(context, variables, failed)
        raise


def _raise_if_base_does_not_build(
    context: StepContext, variables: Mapping[str, str], failed: StepFailed
) -> None:
    from host.postgres.administration import DatabaseAdmin

    config, repo = context.config, open_repository(context.config)
    base = find_preview_base(repo, config.target_branch)
    built = Release.objects.filter(commit_sha=base, built_at__isnull=False)
    if base == context.run.commit_sha or built.exists():
        return
    name = guard.template_name(base)
    root = config.var / "templates" / name

    def build() -> None:
        app = app_commands.write_application(context, repo, base, root, config.job_user)
        app_commands.install_application(context, app)
        app_commands.build_application(context, app, variables, purpose="template")
        app_commands.check_output(app)

    # The folder of the base's template, while no other process makes that.
    with DatabaseAdmin(config).database_lock(name, context.raise_if_stopping):
        try:
            own = _try(context, base, build)
        finally:
            ownership.delete_tree(root)
    if own is not None and own.code == "BUILD_FAILED":
        raise _describe(context, base, "does not build", own, failed) from failed


def raise_if_base_fails_check(
    context: StepContext,
    check: Command,
    read_variables: Callable[[Application], dict[str, str]],
    failed: StepFailed,
) -> None:
    """Raise StepFailed MAIN_BROKEN if the gate's base fails this check of its own as well.

    `failed` is the candidate's failure. The check runs in the gate's database, which is cloned
    again: after a failed check nothing of the gate is used.
    """
    base = context.run.base_sha
    if _was_merged_here(base):
        return

    def run_check() -> None:
        with _migrated_base(context, base) as app:
            app_commands.run_commands(
                context, app, [check], read_variables(app), purpose="gate", code="CHECKS_FAILED"
            )

    own = _try(context, base, run_check)
    if own is not None and own.code == "CHECKS_FAILED":
        raise _describe(context, base, f"fails the check {check.name}", own, failed) from failed


def raise_if_base_release_fails(
    context: StepContext, failed: StepFailed, start: Callable[[Release], object] | None = None
) -> None:
    """Raise StepFailed MAIN_BROKEN if the gate's base fails for production in the same way.

    `failed` is the failure of the candidate's build, or of its start: then `start` starts the
    base's build, in the gate's database, which is cloned again. The build is deleted with the gate.
    """
    base = context.run.base_sha
    known = Release.objects.listed().filter(commit_sha=base)
    # What is deployed again is the base itself.
    is_base = base == context.run.candidate_sha
    if is_base or _was_merged_here(base) or known.exclude(activated_at=None).exists():
        return
    if start is None and known.exclude(built_at=None).exists():
        return

    def build_and_start() -> None:
        release = _build_base_release(context, base)
        if start is not None:
            _clone_base_database(context, base)
            start(release)

    own = _try(context, base, build_and_start)
    if own is not None and own.code == failed.code:
        what = "does not build for production" if start is None else "does not start"
        raise _describe(context, base, what, own, failed) from failed


def _was_merged_here(base: str) -> bool:
    return Run.objects.filter(status=Status.MERGED, candidate_sha=base).exists()


def _build_base_release(context: StepContext, base: str) -> Release:
    """Build the base as a release that is never deployed."""
    try:
        return build.build_release(
            context.config,
            open_repository(context.config),
            base,
            context.gate_id,
            log=context.log,
            stop=context.is_stopping,
            job=context.job,
            is_temporary=True,
        )
    except BuildFailed as failed:
        raise StepFailed(failed.code, failed.detail) from failed
    except DeploymentLost:
        raise StepStopped from None


@contextmanager
def _migrated_base(context: StepContext, base: str) -> Iterator[Application]:
    """Yield the base's application, with the gate's database as the base's template has it."""
    config, repo = context.config, open_repository(context.config)
    root = config.var / "gates" / str(context.gate_id) / "base"
    app = app_commands.write_application(
        context, repo, base, root, context.gate_user, has_development=True
    )
    app_commands.install_application(context, app)
    _clone_base_database(context, base)
    app_commands.empty_redis(context, app)
    try:
        yield app
    finally:
        ownership.delete_tree(root)


def _clone_base_database(context: StepContext, base: str) -> None:
    """Make the gate's database a clone of the base's template."""
    from host.postgres.administration import DatabaseAdmin

    config = context.config
    target = guard.resolve_target(config, config.slots[0])
    repo = open_repository(config)
    template = template_databases.ensure_template(context, repo, base, target)
    name = guard.gate_name(context.gate_id)
    DatabaseAdmin(config).clone(template, name, name)


def _try(context: StepContext, base: str, act: Callable[[], None]) -> StepFailed | None:
    """Return how `act` failed on the base, None if it did not; its output is saved as MAIN_LOG."""
    context.write_log(f"\nthe same with {context.config.target_branch} itself ({base[:12]}):")
    log_start = log_files.read_size(context.log)
    try:
        act()
    except StepFailed as failed:
        own = failed
    except (ApplicationRefused, Refused) as refused:
        is_output = refused.code == "build_failed"
        own = StepFailed("BUILD_FAILED" if is_output else "HOST_REFUSED", refused.detail)
    else:
        return None
    output = safe_files.read_tail(context.log, template_databases.MAIN_LOG_LINES, log_start)
    text = context.mask(log_message.strip_terminal_codes(output))
    context.save_artifact(template_databases.MAIN_LOG, text)
    return own


def _describe(
    context: StepContext, base: str, what: str, own: StepFailed, failed: StepFailed
) -> StepFailed:
    branch = context.config.target_branch
    detail = (
        f"{branch} itself ({base[:12]}) {what}: {own.detail}\nThis commit does not pass either: "
        f"{failed.detail}"
    )
    return StepFailed("MAIN_BROKEN", detail)
