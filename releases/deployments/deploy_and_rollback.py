"""Deploys and rolls back releases: the one code path of pipeline, commands, API and admin."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from host.config import Config
from host.deadline import Deadline
from releases.deployments import rollback_plan
from releases.deployments.deployment_steps import (
    WAIT_SECONDS,
    DeploymentFailed,
    claim_deployment,
    finish_deployment,
    switch_to_release,
)
from releases.models import Deployment, DeploymentInProgress, DeploymentLost, Release
from releases.production import draining
from releases.rules import DeploymentKind, DeploymentOutcome

__all__ = [
    "DeploymentFailed",
    "begin_rollback",
    "complete_deployment",
    "deploy_release",
    "execute_deployment",
    "roll_back",
]

# How long a run's deploy waits for the end of another deployment.
OTHER_DEPLOYMENT_SECONDS = 180.0
POLL_SECONDS = 0.2
ProgressCallback = Callable[[str], None]


def deploy_release(
    config: Config,
    release_id: str,
    *,
    actor: str,
    reason: str,
    kind: str = DeploymentKind.DEPLOY,
    run_id: uuid.UUID | None = None,
    key: str = "",
    is_gated: bool = True,
    log: Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: ProgressCallback | None = None,
) -> Deployment:
    """Switch production to a built release. `complete_deployment` does what comes after.

    After a crash, the same `key` (one attempt of one run) finds the same deployment and continues
    it. Raises DeploymentFailed with everything undone and the commands to run next, Refused,
    DeploymentInProgress, and DeploymentLost if `stop` returned true or another process took over.
    """
    # A unique index on `key` holds this against two processes.
    deployment = Deployment.objects.filter(key=key).first() if key else None
    if deployment is None:
        deployment = _begin_when_free(
            release_id,
            # Only a run, which has a key, waits; a person is told at once.
            OTHER_DEPLOYMENT_SECONDS if key else 0.0,
            stop or (lambda: False),
            kind=kind,
            actor=actor,
            reason=reason,
            run_id=run_id,
            key=key,
            is_gated=is_gated,
        )
    with claim_deployment(config, deployment, log=log, stop=stop, progress=progress) as context:
        if context is not None:
            switch_to_release(context)
    _raise_if_failed(deployment)
    return deployment


def complete_deployment(
    config: Config,
    deployment: Deployment,
    *,
    log: Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: ProgressCallback | None = None,
    wait: float = WAIT_SECONDS,
) -> Deployment:
    """Do what remains of a deployment: switch, reload hook, health gate, stop of the old colour.

    Waits up to `wait` seconds while another process works on it. Raises as `deploy_release` does.
    """
    with claim_deployment(
        config, deployment, log=log, stop=stop, progress=progress, wait=wait
    ) as context:
        if context is not None:
            switch_to_release(context)
            finish_deployment(context)
    _raise_if_failed(deployment)
    # Outside the claim: the deployment is over, and another may begin during the wait.
    draining.stop_drained_colours(config)
    return deployment


def _raise_if_failed(deployment: Deployment) -> None:
    """Raise DeploymentFailed if it failed, in this process or in another one."""
    deployment.refresh_from_db()
    if deployment.is_over and deployment.outcome != DeploymentOutcome.SUCCEEDED:
        raise DeploymentFailed(deployment)


def _begin_when_free(
    release_id: str, seconds: float, stop: Callable[[], bool], *, kind: str, **fields: object
) -> Deployment:
    """Begin a deployment when no other runs, after `seconds` at most. Raises as `begin` does."""
    deadline = Deadline(seconds)
    while True:
        # An INSERT that is refused takes a number and writes an error to PostgreSQL's log.
        if deadline.has_passed or not Deployment.objects.running().exists():
            try:
                return begin_deployment(release_id, kind=kind, **fields)
            except DeploymentInProgress:
                if deadline.has_passed:
                    raise
        if stop():
            raise DeploymentLost
        time.sleep(POLL_SECONDS)


def begin_deployment(release_id: str, *, kind: str, **fields: object) -> Deployment:
    """Create the row of a deployment. Raises Refused as `require` and `begin` do."""
    return Deployment.objects.begin(Release.objects.require(release_id), kind=kind, **fields)


def roll_back(
    config: Config,
    release_id: str,
    *,
    actor: str,
    reason: str,
    accept_schema: bool = False,
    progress: ProgressCallback | None = None,
) -> Deployment:
    """Make an earlier release live again; return when its health gate has passed.

    Raises Refused (`release_id_invalid`, `release_unknown`, `release_already_current`,
    `release_not_rollbackable`, `rollback_blocked_by_migration`, `release_corrupt`,
    `activation_in_progress`) with nothing changed, and DeploymentFailed.
    """
    deployment = begin_rollback(config, release_id, actor, reason, accept_schema)
    return complete_deployment(config, deployment, progress=progress)


def begin_rollback(
    config: Config, release_id: str, actor: str, reason: str, accept_schema: bool
) -> Deployment:
    """Check a rollback and create its row. Raises Refused as `roll_back` does."""
    release = Release.objects.require(release_id)
    rollback_plan.check_rollback(config, release, accept_schema=accept_schema)
    return begin_deployment(release_id, kind=DeploymentKind.ROLLBACK, actor=actor, reason=reason)


def execute_deployment(number: int) -> None:
    """Do all that remains of a deployment: the queue's task. A second delivery finds it over."""
    deployments = Deployment.objects.select_related("release", "previous")
    deployment = deployments.running().filter(pk=number).first()
    if deployment is None:
        return
    # Of a failure the row has the reason and the commands, and its page shows them.
    with suppress(DeploymentFailed, DeploymentInProgress, DeploymentLost):
        complete_deployment(settings.OROBOROS, deployment)
