"""The steps of a deployment, each of which may be repeated after a crash.

No step remembers what was done: it looks at the row, the current link and the processes. A claim on
the row (30 s, renewed) lets one process at a time work on a deployment.
"""

import logging
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from core import claims
from core.claims import CLAIM_SECONDS, MAX_ATTEMPTS, Claim
from host.config import Config
from host.deadline import wait_until
from host.errors import Refused
from host.files.surface_folder import NO_ROUTES, LiveFile
from host.process import shutdown
from host.units import jobs
from host.units.jobs import JobInterrupted
from host.units.unit import HealthCheck, start_again_if_killed
from releases.builds.build_folders import public_folder
from releases.builds.launch_spec import read_fallback
from releases.models import Deployment, DeploymentInProgress, DeploymentLost, Release
from releases.processes import background, keeping
from releases.production import (
    colours,
    current_link,
    draining,
    health_gate,
    migration,
    previous_assets,
)
from releases.production.colours import Unhealthy
from releases.production.deploy_settings import DeploySettings
from releases.production.deployment_context import (
    DeploymentContext,
    append_to_log,
    deployment_log_path,
)
from releases.production.migration import MigrationFailed
from releases.production.restore_point import RestorePointFailed
from releases.rules import DeploymentKind, DeploymentOutcome, format_rollback_command

logger = logging.getLogger(__name__)

# A claim whose process died is free after CLAIM_SECONDS; a waiter waits a little longer.
WAIT_SECONDS = CLAIM_SECONDS + 5.0
TOO_MANY_ATTEMPTS = "Every process that worked on it died; it is not tried again."


class DeploymentFailed(Exception):
    """The release did not go live; `guidance` are the commands to run now."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment.detail)
        self.deployment = deployment
        self.detail = deployment.detail
        self.guidance: list[str] = list(deployment.guidance)
        self.is_stuck = deployment.outcome == DeploymentOutcome.STUCK


@contextmanager
def claim_deployment(
    config: Config,
    deployment: Deployment,
    *,
    log: Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[str], None] | None = None,
    wait: float = WAIT_SECONDS,
) -> Iterator[DeploymentContext | None]:
    """Claim the deployment while the block runs; yields None if it is over.

    Raises DeploymentInProgress if another process still works on it after `wait` seconds, and
    DeploymentFailed, with everything undone, if the settings of the hooks are invalid.
    """
    claim = _claim_when_free(deployment, wait)
    deployment.refresh_from_db()
    if claim is None:
        yield None
        return
    settings, problem = DeploySettings.read_or_default(config)
    with claims.renew_while_running(Deployment.objects.all(), claim):
        context = DeploymentContext(
            config,
            deployment,
            claim,
            log or deployment_log_path(config, deployment),
            settings,
            stop or (lambda: False),
            progress or (lambda text: None),
        )
        if claim.fence > 1:
            # The process that had the claim before may have been killed and its `release:` not.
            jobs.kill_marked(context.job_mark)
        if problem:
            undo_deployment(context, f"{problem} No hook was run.")
        yield context


def _claim_when_free(deployment: Deployment, seconds: float) -> Claim | None:
    """Return the claim; None if the deployment is over. Raises DeploymentInProgress."""
    owner = claims.make_owner_name()
    claim: Claim | None = None

    def is_claimed_or_over() -> bool:
        nonlocal claim
        claim = Deployment.objects.running().claim(deployment.number, owner)
        if claim is None:
            deployment.refresh_from_db()
        return claim is not None or deployment.is_over

    if not wait_until(is_claimed_or_over, seconds=seconds, interval=0.2):
        raise DeploymentInProgress(f"Another process works on {deployment}.")
    return claim


def switch_to_release(context: DeploymentContext) -> None:
    """Do all steps up to the switch. Raises DeploymentFailed, with everything undone."""
    deployment = context.deployment
    # A process that takes over continues to undo: it does not deploy again.
    if deployment.is_being_undone:
        undo_deployment(context, deployment.detail)
    if deployment.switched_at is not None:
        return
    if deployment.attempts > MAX_ATTEMPTS:
        undo_deployment(context, TOO_MANY_ATTEMPTS)
    with _undo_on_failure(context):
        if deployment.kind == DeploymentKind.DEPLOY:
            migration.migrate(context)
            migration.record_schema_changes(context)
        context.report_progress(f"starting {deployment.release} as {deployment.colour}")
        draining.wait_until_replaceable(context)
        # Not kept until the switch: the reconciler changes no colour while a deployment runs.
        with colours.lock_colours(context.config):
            colours.start_colour(context, deployment)
        _switch_current_link(context)
    append_to_log(context.log, f"{context.release} is live as {deployment}")


def _switch_current_link(context: DeploymentContext) -> None:
    config, deployment = context.config, context.deployment
    check = colours.read_health_check(config, context.release)
    write_link_folder(config, deployment, check)
    context.report_progress("switching")
    # The reconciler takes the same lock, so it never sees the link switched and the row not.
    with colours.lock_colours(config):
        current_link.switch(config, deployment.number)
        deployment.go_live(context.claim)


def write_link_folder(config: Config, deployment: Deployment, check: HealthCheck | None) -> None:
    """Write the folder to which the current link leads while the deployment is live."""
    release, address = deployment.release, colours.address(config, deployment.colour)
    routes = (
        NO_ROUTES if check is None else colours.read_live_routes(config, release, deployment.colour)
    )
    live = LiveFile(
        deployment.number,
        address,
        release.commit_sha,
        health_url=None if check is None else f"{check.host}{check.path}",
        is_health_guess=check is not None and check.is_guess,
        is_https=check is not None and check.is_https,
        fallback=read_fallback(config, release.pk),
        routes=routes,
    )
    current_link.write(
        config,
        live,
        public_folder(config, release.pk),
        previous_assets.find_previous_assets(config, deployment),
    )


def finish_deployment(context: DeploymentContext) -> None:
    """Run the reload hook and the health gate. Raises DeploymentFailed, with everything undone."""
    deployment = context.deployment
    if deployment.is_being_undone:
        undo_deployment(context, deployment.detail)
    # Twice as many: the claims before the switch count too.
    if deployment.attempts > 2 * MAX_ATTEMPTS:
        undo_deployment(context, TOO_MANY_ATTEMPTS)
    with _undo_on_failure(context):
        _replace_processes(context, deployment)
        if deployment.is_gated:
            context.report_progress("reloading the backend")
            health_gate.run_reload_hook(context)
            context.report_progress("health gate")
            health_gate.watch_health(context)
        else:
            text = "No file of the backend changed: no reload, no health gate."
            append_to_log(context.log, text)
    deployment.succeed(context.claim)
    append_to_log(context.log, f"{context.release} is healthy")


def _replace_processes(context: DeploymentContext, deployment: Deployment | None) -> None:
    """Stop the background processes of other releases, then start the deployment's.

    Raises Unhealthy with what production differs in, and Refused.
    """
    config = context.config
    names = [] if deployment is None else background.list_names(config, deployment.release)
    if names or background.list_units(config):
        append_to_log(context.log, f"background processes: {', '.join(names) or 'none'}")
    release = None if deployment is None else deployment.release
    replace = partial(background.replace, config, release)
    try:
        start_again_if_killed(replace, partial(append_to_log, context.log))
    except Refused as refused:
        if refused.code != "process_died" or deployment is None:
            raise
        raise Unhealthy(colours.explain_start(context, deployment, refused.detail)) from refused
    keeping.forget_restarts(config)


@contextmanager
def _undo_on_failure(context: DeploymentContext) -> Iterator[None]:
    """Undo the deployment if the block fails. DeploymentLost passes: the next process goes on."""
    try:
        with _leave_at_shutdown():
            yield
    except (Unhealthy, MigrationFailed, RestorePointFailed, Refused) as failed:
        undo_deployment(context, str(failed))
    except OSError as error:
        undo_deployment(context, f"The operating system refused: {error}.")


@contextmanager
def _leave_at_shutdown() -> Iterator[None]:
    """Raise DeploymentLost for a failure while the worker ends: the shutdown may have caused it."""
    try:
        yield
    except JobInterrupted:
        raise DeploymentLost from None
    except (Unhealthy, MigrationFailed, RestorePointFailed, Refused, OSError):
        if shutdown.wait_for_notice():
            raise DeploymentLost from None
        raise


def undo_deployment(context: DeploymentContext, reason: str) -> None:
    """Make the previous release live again and raise DeploymentFailed. May be repeated."""
    deployment = context.deployment
    # Recorded first: after a crash in between, the next process continues to undo.
    if not deployment.is_being_undone:
        deployment.start_undo(context.claim, reason)
    append_to_log(context.log, f"failed: {reason}")
    outcome, result = _restore_previous_release(context)
    detail = " ".join(part for part in (reason, result) if part)
    deployment.fail(context.claim, outcome, detail, list_next_commands(context, outcome))
    if outcome == DeploymentOutcome.STUCK:
        logger.critical("Production is stuck: deployment %s: %s", deployment.number, detail)
    append_to_log(context.log, "\n".join([detail, *deployment.guidance]))
    # Not drained, unlike after a success: the release has failed.
    colours.stop_idle_colours(context.config)
    raise DeploymentFailed(deployment)


def _restore_previous_release(context: DeploymentContext) -> tuple[DeploymentOutcome, str]:
    """Switch the current link back if it leads to this deployment; return the outcome and why."""
    config, deployment, before = context.config, context.deployment, context.previous_deployment
    target = current_link.read(config)
    is_switched = target is not None and target.number == deployment.number
    # The link counts too: a crash may have come between its rename and the row's commit.
    if deployment.switched_at is None and not is_switched:
        live = f"{before.release} still serves." if before else "Nothing was live before."
        return DeploymentOutcome.FAILED, f"Nothing was switched; {live}"
    if before is None:
        current_link.clear(config)
        _replace_processes(context, None)
        return DeploymentOutcome.FAILED, "Nothing was live before, and nothing is now."
    try:
        # Before the switch: until then the failed release may still answer some requests.
        with _leave_at_shutdown(), colours.lock_colours(config):
            colours.start_colour(context, before)
    except (Unhealthy, Refused, OSError) as failed:
        # The previous release may serve in part; the failed one is known not to.
        current_link.switch(config, before.number)
        with suppress(Unhealthy, Refused, OSError):
            _replace_processes(context, before)
        return _describe_stuck(before, failed)
    current_link.switch(config, before.number)
    try:
        with _leave_at_shutdown():
            _replace_processes(context, before)
            if deployment.is_gated:
                health_gate.run_reload_hook(context, is_undo=True)
            health_gate.wait_until_restored(context, before)
    except (Unhealthy, Refused, OSError) as failed:
        return _describe_stuck(before, failed)
    return DeploymentOutcome.RESTORED, f"{before.release} is live again."


def _describe_stuck(before: Deployment, failed: Exception) -> tuple[DeploymentOutcome, str]:
    detail = f"{before.release} is live again and not healthy: {failed}"
    return DeploymentOutcome.STUCK, detail


def list_next_commands(context: DeploymentContext, outcome: DeploymentOutcome) -> list[str]:
    """Return the commands to run after this failure, the first one to try first."""
    release, before = context.release, context.previous_deployment
    release.refresh_from_db()
    log = colours.log_path(context.config, context.deployment.colour)
    commands = [f"tail -n 200 {shlex.quote(str(log))}", "./scripts/runtime-health-check.sh"]
    if outcome == DeploymentOutcome.STUCK and before is not None:
        old_log = colours.log_path(context.config, before.colour)
        commands.append(f"tail -n 200 {shlex.quote(str(old_log))}")
        others = Release.objects.healthy().exclude(pk__in=[release.pk, before.release_id])[:2]
        commands += [format_rollback_command(other.release_id) for other in others]
    if release.restore_command:
        commands.append(release.restore_command)
    if context.deployment.kind == DeploymentKind.DEPLOY:
        commands.append(f"./scripts/deploy.sh {release.commit_sha}")
    return commands
