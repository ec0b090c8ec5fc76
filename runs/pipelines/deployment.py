"""A run's release in production: the switch, the health gate, and the way back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from host.config import Config
from host.errors import Refused
from releases.deployments import operations as releases
from releases.deployments.manual_deploy import needs_gate
from releases.deployments.switch import ActivationFailed, carried, undo
from releases.models import Activation, ActivationLost, Release
from releases.rules import ActivationOutcome
from runs.engine.journal import Context, artifact_path
from runs.engine.step_context import StepFailed, Stopped
from runs.models import Approval, Run
from runs.repository import repository

RELOAD_LOG = "deploy_backend_reload_log"
UNGATED = "ungated"

Found = dict[str, Any] | None


def deploy(context: Context) -> None:
    """Make the build live, as far as the switch."""
    config, run = context.config, context.run
    release = Release.objects.get(pk=context.results["release"]["release"])
    with _told(context):
        releases.switch_to(
            config,
            release.pk,
            actor=approver(run),
            reason=run.title,
            run_id=run.pk,
            key=_key(run),
            is_gated=needs_gate(config, repository(config), release),
            log=context.log,
            stop=context.is_stopping,
        )


def see_deploy(context: Context) -> Found:
    """The switch is made once the activation says so and did not fail since."""
    activation = Activation.objects.filter(key=_key(context.run)).first()
    if activation is None or activation.switched_at is None:
        return None
    if activation.is_over and activation.outcome != ActivationOutcome.SUCCEEDED:
        return None
    return {"activation": activation.number, "is_gated": activation.is_gated}


def watch(context: Context) -> None:
    """Pass the health gate, or have the last healthy release serve again."""
    activation = Activation.objects.get(key=_key(context.run))
    if not activation.is_gated and not context.run.events.filter(kind=UNGATED).exists():
        context.event(UNGATED, "no file of the backend changed: no reload, no health gate")
    with _told(context):
        releases.confirm(context.config, activation, log=context.log, stop=context.is_stopping)


def see_health(context: Context) -> Found:
    """The gate has passed once the activation has succeeded."""
    passed = Activation.objects.filter(
        key=_key(context.run), outcome=ActivationOutcome.SUCCEEDED
    ).first()
    return None if passed is None else {"activation": passed.number}


def _key(run: Run) -> str:
    """Name the one activation that this run makes."""
    return f"{run.pk}:{run.generation}"


def approver(run: Run) -> str:
    """Return who approved the commit that is shipped."""
    return run.approvals.get(verdict=Approval.APPROVED, voided_at=None).actor


@contextmanager
def _told(context: Context) -> Iterator[None]:
    """Turn how an activation ends into how a step does, with what it says of the releases."""
    try:
        with _in_turn():
            yield
    except ActivationFailed as failed:
        lines = "\n".join(failed.guidance)
        raise StepFailed("DEPLOY_HEALTHCHECK_FAILED", failed.detail, next_action=lines) from failed


@contextmanager
def _in_turn() -> Iterator[None]:
    """Stop here where another process carries an activation on; the sweep comes back for the run.

    It may be this run's own, which the reconciler found interrupted: how that ends decides.
    """
    try:
        yield
    except ActivationLost:
        raise Stopped from None
    except Refused as refused:
        if refused.code != "activation_in_progress":
            raise
        raise Stopped(refused.detail) from None


def is_live(run: Run) -> bool:
    """Whether the run's release has passed its health gate, whatever the journal knows of it."""
    succeeded = Activation.objects.filter(key=_key(run), outcome=ActivationOutcome.SUCCEEDED)
    return succeeded.exists()


def undo_deploy(config: Config, run: Run, stop: Callable[[], bool]) -> list[str]:
    """Make live what was, where the run's activation is under way; returns its guidance.

    Raises Stopped while another process carries it.
    """
    activation = Activation.objects.filter(key=_key(run)).first()
    if activation is None:
        return []
    log = artifact_path(config, run, RELOAD_LOG)
    try:
        with _in_turn(), carried(config, activation, log=log, stop=stop) as carrier:
            if carrier is not None:
                undo(carrier, "Each process that carried it died; nothing more is tried.")
    except ActivationFailed as failed:
        return failed.guidance
    return list(activation.guidance)
