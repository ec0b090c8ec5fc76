"""The last steps of shipping: the deployment of the run's release, and its health gate."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from host.config import Config
from releases.deployment_failures import is_migration_failure
from releases.deployments import deploy_and_rollback
from releases.deployments.deployment_steps import (
    DeploymentFailed,
    claim_deployment,
    undo_deployment,
)
from releases.models import Deployment, DeploymentInProgress, DeploymentLost, Release
from releases.production.health_gate import is_health_gate_needed
from releases.rules import DeploymentOutcome
from runs.engine.artifacts import artifact_path
from runs.engine.step_context import StepContext, StepResult
from runs.engine.step_errors import StepFailed, StepStopped
from runs.models import Run
from runs.repository import open_repository

RELOAD_LOG = "deploy_backend_reload_log"
NO_HEALTH_GATE = "no_health_gate"


def activate_release(context: StepContext) -> None:
    """Switch production to the run's release."""
    config, run = context.config, context.run
    release = Release.objects.get(pk=context.results["release"]["release"])
    with _translate_failures(context):
        deploy_and_rollback.deploy_release(
            config,
            release.pk,
            actor=find_approver(run),
            reason=run.title,
            run_id=run.pk,
            key=_deployment_key(run),
            is_gated=is_health_gate_needed(config, open_repository(config), release),
            log=context.log,
            stop=context.is_stopping,
            progress=lambda text: context.record_event("progress", text),
        )


def probe_deployment(context: StepContext) -> StepResult:
    """Return the deployment once it has switched production, unless it failed since."""
    deployment = Deployment.objects.filter(key=_deployment_key(context.run)).first()
    if deployment is None or deployment.switched_at is None:
        return None
    if deployment.is_over and deployment.outcome != DeploymentOutcome.SUCCEEDED:
        return None
    return {"deployment": deployment.number, "is_gated": deployment.is_gated}


def run_health_gate(context: StepContext) -> None:
    """Run the health gate. The last healthy release is restored if it fails."""
    deployment = Deployment.objects.get(key=_deployment_key(context.run))
    # Once, also if the step is repeated after a crash.
    if not deployment.is_gated and not context.run.events.filter(kind=NO_HEALTH_GATE).exists():
        context.record_event(
            NO_HEALTH_GATE,
            "no file of the backend changed: it is not reloaded, and there is no health gate",
        )
    with _translate_failures(context):
        deploy_and_rollback.complete_deployment(
            context.config, deployment, log=context.log, stop=context.is_stopping
        )


def probe_health_gate(context: StepContext) -> StepResult:
    """Return the deployment once it has succeeded."""
    succeeded = Deployment.objects.filter(
        key=_deployment_key(context.run), outcome=DeploymentOutcome.SUCCEEDED
    ).first()
    return None if succeeded is None else {"deployment": succeeded.number}


def _deployment_key(run: Run) -> str:
    """Return the key of the only deployment that this generation of the run makes."""
    return f"{run.pk}:{run.generation}"


def find_approver(run: Run) -> str:
    """Return who approved the commit that is shipped: the last of several people."""
    return run.approvals.valid()[0].actor


@contextmanager
def _translate_failures(context: StepContext) -> Iterator[None]:
    """Raise a failed deployment as a failed step, with the commands that it recommends."""
    try:
        with _stop_if_busy():
            yield
    except DeploymentFailed as failed:
        lines = "\n".join(failed.guidance)
        # The deployment may have failed in another process: its row has the detail only.
        is_migration = is_migration_failure(failed.detail)
        code = "MIGRATION_FAILED" if is_migration else "DEPLOY_HEALTHCHECK_FAILED"
        raise StepFailed(code, failed.detail, next_action=lines) from failed


@contextmanager
def _stop_if_busy() -> Iterator[None]:
    """Stop the step while another process deploys; `execution.enqueue_unclaimed_runs` repeats it.

    That may be this run's own deployment, which the reconciler found interrupted. Its end decides.
    """
    try:
        yield
    except DeploymentLost:
        raise StepStopped from None
    except DeploymentInProgress as in_progress:
        raise StepStopped(in_progress.detail) from None


def is_live(run: Run) -> bool:
    """Return whether the run's release passed its health gate, whatever the journal says."""
    succeeded = Deployment.objects.filter(
        key=_deployment_key(run), outcome=DeploymentOutcome.SUCCEEDED
    )
    return succeeded.exists()


def restore_previous_release(config: Config, run: Run, stop: Callable[[], bool]) -> list[str]:
    """Make the previous release live again if the run's deployment is in progress.

    Returns the commands that the deployment recommends. Raises StepStopped while another process
    has claimed the deployment.
    """
    deployment = Deployment.objects.filter(key=_deployment_key(run)).first()
    if deployment is None:
        return []
    log = artifact_path(config, run, RELOAD_LOG)
    try:
        with _stop_if_busy(), claim_deployment(config, deployment, log=log, stop=stop) as claimed:
            if claimed is not None:
                undo_deployment(
                    claimed, "Every process that worked on it died; it is not tried again."
                )
    except DeploymentFailed as failed:
        return failed.guidance
    return list(deployment.guidance)
