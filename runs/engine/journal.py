"""Runs a pipeline for a claimed run, and journals every step of it.

Every step is probe, act, probe: the probe asks whether the step's effect exists, so that after a
crash the same question decides what is left to do. Every write names the claim's fence: a process
that lost its claim writes nothing. See docs/decisions/0002.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction
from psycopg.types.json import Jsonb

from core import claims
from core.claims import Claim, ClaimLost
from core.clock import ClockTimestamp
from core.prepared_statements import fetch
from host.config import Config
from runs.engine.artifacts import artifact_path, relative_artifact_path
from runs.engine.events import WORKER, record_event
from runs.engine.sql import BEGIN_STEP, END_STEP
from runs.engine.step_context import PipelineStep, StepContext
from runs.engine.step_errors import PipelineRestart, StepFailed, StepStopped, translate_errors
from runs.models import Run, Step
from runs.rules import Status, StepStatus

# Restarts of the pipeline under one claim: a target branch that moves all the time must not occupy
# a worker.
MAX_RESTARTS = 5

Results = dict[str, dict[str, Any]]


@contextmanager
def hold_claim(claim: Claim) -> Iterator[None]:
    """Renew the run's claim while the block runs, and watch for a request to stop the run.

    A block that ends without an exception did not kill its worker: it counts as no attempt.
    """
    stop_requests = Run.objects.filter(pk=claim.pk).exclude(stop_status="")
    with claims.renew_while_running(Run.objects.all(), claim, stop_requests.exists):
        yield
        # By the fence: if the claim was lost, the attempts of a later one stay. After an exception
        # the attempt counts: it is a bug or an error of the host, and the next claim tries again.
        Run.objects.filter(pk=claim.pk, claim_fence=claim.fence).update(attempts=0)


def run_pipeline(config: Config, run: Run, claim: Claim, steps: Sequence[PipelineStep]) -> None:
    """Run the steps that are not journaled as succeeded, in order.

    Raises StepFailed, StepStopped, ClaimLost. Any other exception is a bug or an error of the
    host, and the next claim tries again, MAX_ATTEMPTS times.
    """
    for _ in range(MAX_RESTARTS):
        try:
            # Loaded again after a restart, which has reopened some of the steps.
            results = _load_results(run)
            for step in steps:
                if step.name not in results:
                    results[step.name] = run_step(config, run, claim, steps, step, results)
            return
        except PipelineRestart as restart:
            _reopen_steps(run, claim, steps, restart)
            reason = restart.reason
    detail = f"The pipeline was restarted {MAX_RESTARTS} times, the limit. Last reason: {reason}."
    raise StepFailed("HOST_REFUSED", detail)


def run_step(
    config: Config,
    run: Run,
    claim: Claim,
    steps: Sequence[PipelineStep],
    step: PipelineStep,
    results: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Run one step: journal, probe, act, probe, journal. Returns its result."""
    # Already here: a full disk may refuse the step's own log.
    with translate_errors(config, artifact_path(config, run, step.log_artifact)):
        context = _begin_step(config, run, claim, steps, step, results)
    try:
        with translate_errors(config, context.log), step.context_manager(context):
            result = make_effect(context)
    except StepFailed as failed:
        _end_step(context, StepStatus.FAILED, failed.detail, None)
        raise
    except (StepStopped, PipelineRestart) as ended:
        # The journal does not say "stopped" for a claim that may be lost, although its row may be
        # valid for some seconds more: the step may have acted, and the next claim probes that.
        if not claim.is_lost:
            _end_step(context, StepStatus.STOPPED, str(ended), None)
        raise
    _end_step(context, StepStatus.SUCCEEDED, "", result, step.status_on_success)
    return result


def make_effect(context: StepContext) -> dict[str, Any]:
    """Probe, act, probe. Raises StepStopped, and StepFailed EFFECT_MISSING without an effect."""
    step = context.step
    result = step.probe(context)
    for _ in range(step.attempts):
        if result is not None:
            break
        context.raise_if_stopping()
        step.act(context)
        context.raise_if_stopping()
        result = step.probe(context)
    if result is None:
        # An answer about the application or the host, and no crash: another attempt would only
        # repeat it.
        looked_for = context.describe_effect()
        detail = f"The step {step.name} ended without an error, but {looked_for} was not found."
        raise StepFailed("EFFECT_MISSING", detail)
    return result


def has_begun_irreversible_step(run: Run, steps: Sequence[PipelineStep]) -> bool:
    """Return whether requests to stop the run are ignored now (`PipelineStep.is_irreversible`)."""
    names = [step.name for step in steps if step.is_irreversible]
    begun = Step.objects.filter(run=run, generation=run.generation, name__in=names)
    # A restart of the pipeline marks what it reopens as stopped; a merge was undone before.
    return begun.exclude(status=StepStatus.STOPPED).exists()


def _begin_step(
    config: Config,
    run: Run,
    claim: Claim,
    steps: Sequence[PipelineStep],
    step: PipelineStep,
    results: Mapping[str, dict[str, Any]],
) -> StepContext:
    log = artifact_path(config, run, step.log_artifact)
    log.parent.mkdir(parents=True, exist_ok=True)
    # The file exists before its artifact's row, so that a page that lists the row can open it.
    log.touch(mode=0o600)
    values = {
        "generation": run.generation,
        "name": step.name,
        "artifact": step.log_artifact,
        "path": relative_artifact_path(config, log),
    }
    step_id, attempt = _fetch_for_claim(claim, BEGIN_STEP, ignores_stop=False, **values)
    if step_id is None:  # the run was asked to stop
        if not has_begun_irreversible_step(run, steps):
            raise StepStopped
        # From the merge on a run is always finished (docs/decisions/0002).
        step_id, attempt = _fetch_for_claim(claim, BEGIN_STEP, ignores_stop=True, **values)
    if step.status_on_start is not None and run.status != step.status_on_start:
        advance_run(run, step.status_on_start, claim)
    job = f"{run.pk}:{claim.fence}"
    return StepContext(config, log, job, run, claim, step, attempt, step_id, results)


def _end_step(
    context: StepContext,
    status: StepStatus,
    detail: str,
    result: dict[str, Any] | None,
    to: Status | None = None,
) -> None:
    masked = context.mask(detail)
    values = {"step": context.step_id, "status": status.value, "detail": masked}
    # Without a result what the step recorded of its progress stays.
    # One transaction: a step that succeeded is never repeated, so a move that was lost would be
    # lost permanently.
    with transaction.atomic():
        _fetch_for_claim(
            context.claim, END_STEP, result=Jsonb(result) if result is not None else None, **values
        )
        if status == StepStatus.SUCCEEDED and context.run.attempts != 1:
            context.update_run(attempts=1)  # this claim is the first attempt at the next step
        if to is not None and context.run.status != to:
            advance_run(context.run, to, context.claim)


def advance_run(run: Run, to: Status, claim: Claim) -> None:
    """Make a move that the pipeline itself makes, and record it. Raises as Run.move."""
    run.move(to, claim=claim)
    record_event(to, f"is {to.label.lower()} now", actor=WORKER, run=run)


def lock_claimed_run(claim: Claim) -> datetime:
    """Lock the run's row for this claim and return the database's time. Raises ClaimLost."""
    # NO KEY UPDATE, as in runs.engine.sql: inserts of events meanwhile do not wait.
    rows = Run.objects.with_valid_claim(claim).select_for_update(no_key=True)
    at = rows.values_list(ClockTimestamp(), flat=True).first()
    if at is None:
        claim.lost.set()
        raise ClaimLost
    return at


def _fetch_for_claim(claim: Claim, statement: str, **values: Any) -> tuple[Any, ...]:
    """Execute a statement of `runs.engine.sql` and return its row. Raises ClaimLost."""
    [rows] = fetch(statement, run=claim.pk, owner=claim.owner, fence=claim.fence, **values)
    if not rows:
        # This may notice the loss before the thread that renews the claim does.
        claim.lost.set()
        raise ClaimLost
    return rows[0]


def _load_results(run: Run) -> Results:
    """Return the results of this generation's steps that succeeded, by name."""
    rows = Step.objects.filter(
        run=run, generation=run.generation, status=StepStatus.SUCCEEDED
    ).values_list("name", "result")
    return dict(rows)


def _reopen_steps(
    run: Run, claim: Claim, steps: Sequence[PipelineStep], restart: PipelineRestart
) -> None:
    """Mark the named step and all after it as stopped, so that they run again."""
    names = [step.name for step in steps]
    names = names[names.index(restart.step) :]
    with transaction.atomic():
        lock_claimed_run(claim)
        Step.objects.filter(run=run, generation=run.generation, name__in=names).update(
            status=StepStatus.STOPPED
        )
        record_event("pipeline_restarted", restart.reason, actor=WORKER, run=run)
