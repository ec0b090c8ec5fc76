"""Executing runs: a worker claims a run and performs as many of its steps as it can."""

import logging
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from core.claims import MAX_ATTEMPTS, Claim, ClaimLost, make_owner_name
from core.clock import ClockTimestamp, get_database_time
from host.config import Config
from host.units import jobs
from host.units.jobs import JobInterrupted
from runs import merge_queue
from runs.engine import journal
from runs.engine.enqueue import enqueue
from runs.engine.step_context import PipelineStep
from runs.engine.step_errors import StepFailed, StepStopped
from runs.lifecycle import branch_watch, finish
from runs.models import Run
from runs.pipelines import deployment, merge_gate, preview, recovery_commands, shipping
from runs.pipelines.candidates.merging import NewCommit
from runs.rules import MERGING_OR_DEPLOYING, SHIPPING, Status

log = logging.getLogger(__name__)

# How many earlier claims may have left processes behind. Each worker kills those of its
# predecessors first, so only a series of workers that were killed leaves more than one.
LEFTOVER_FENCES = 5
# A task may be in the queue for this long before `enqueue_unclaimed_runs` enqueues the run again.
REENQUEUE_SECONDS = 5


def get_pending_steps(config: Config, run: Run) -> Sequence[PipelineStep]:
    """Return the pipeline that the run is in now; empty while the run waits for a person."""
    if run.status == Status.PREPARING:
        return preview.STEPS
    if run.status in MERGING_OR_DEPLOYING or (
        run.status == Status.APPROVED and merge_queue.is_next(config, run)
    ):
        return shipping.STEPS
    return ()


def execute_next_granted() -> None:
    """Execute the oldest run that holds a slot and that no worker has claimed.

    GRANT_SLOTS enqueues this task, which names no run: only that statement knows which run got the
    slot.
    """
    ours = Run.objects.on_host(settings.OROBOROS.host_name)
    granted = ours.filter(status=Status.PREPARING).exclude(claim_expires_at__gt=ClockTimestamp())
    for run_id in granted.order_by("created_at").values_list("pk", flat=True):
        # False if another worker was faster: then the next one is tried.
        if execute_run(run_id):
            return


def execute_run(run_id: uuid.UUID) -> bool:
    """Claim a run and perform as many of its steps as possible. Returns whether it was claimed.

    A task that is delivered twice finds the run claimed and changes nothing.
    """
    run = Run.objects.on_host(settings.OROBOROS.host_name).filter(pk=run_id).first()
    # Before the claim: a reservation has no steps. If it were claimed, its release or its expiry
    # would be left to a worker that does nothing.
    # An ended run keeps the stop that it was asked for.
    if run is None or run.is_final:
        return False
    if not (run.stop_status or get_pending_steps(settings.OROBOROS, run)):
        return False
    claim = Run.objects.claim(run_id, make_owner_name())
    if claim is None:
        return False
    try:
        with journal.hold_claim(claim), suppress(ClaimLost):
            # It was read before the claim: another process may have moved it since.
            run.refresh_from_db()
            kill_leftover_processes(claim)
            if not run.is_final:
                _run_claimed(settings.OROBOROS, run, claim)
    except JobInterrupted as interrupted:
        # It counts as an attempt, so a command that ends its own unit each time fails at last.
        log.warning("%s; the run continues", interrupted.detail, extra={"run": str(run_id)})
    return True


def _run_claimed(config: Config, run: Run, claim: Claim) -> None:
    try:
        _run_next_steps(config, run, claim)
    except StepFailed as failed:
        _fail_run(config, run, claim, failed)
    except NewCommit as moved:
        if branch_watch.restart_with_commit(run, moved.sha, claim):
            merge_gate.remove_gate(config, run.pk)
            run.refresh_from_db()
            _run_claimed(config, run, claim)
    except StepStopped:
        run.refresh_from_db()
        # Else the claim is lost or another process deploys: `enqueue_unclaimed_runs` follows later.
        if run.stop_status and not claim.is_lost and not finish.is_too_late_to_stop(run):
            to = Status(run.stop_status)
            finish.finish_run(
                config, run, claim, to, run.stop_code, run.stop_reason, actor=run.stop_actor
            )
    else:
        if run.status == Status.DEPLOYING:
            finish.finish_run(config, run, claim, Status.MERGED)


def _run_next_steps(config: Config, run: Run, claim: Claim) -> None:
    """Run the steps that are next. Raises StepFailed, StepStopped, ClaimLost."""
    if run.stop_status and not finish.is_too_late_to_stop(run):
        raise StepStopped
    # A release that is live needs only its record, so such a run does not fail.
    if run.attempts > MAX_ATTEMPTS and not deployment.is_live(run):
        _fail_after_crashes(config, run, claim)
    if run.status == Status.APPROVED and not merge_queue.begin_shipping(config, run, claim):
        return
    try:
        journal.run_pipeline(config, run, claim, get_pending_steps(config, run))
    except StepFailed as failed:
        # A failed deployment has restored production itself; one without an effect has not.
        if failed.code != "EFFECT_MISSING" or run.status != Status.DEPLOYING:
            raise
        lines = deployment.restore_previous_release(config, run, lambda: claim.is_lost)
        raise StepFailed(failed.code, failed.detail, next_action="\n".join(lines)) from failed


def _fail_after_crashes(config: Config, run: Run, claim: Claim) -> None:
    """Restore the release that was live, then raise StepFailed STEP_KEPT_DYING."""
    lines: list[str] = []
    # The restore itself may be what kills the worker: after as many attempts again it is left out.
    if run.status == Status.DEPLOYING and run.attempts <= 2 * MAX_ATTEMPTS:
        lines = deployment.restore_previous_release(config, run, lambda: claim.is_lost)
    step = run.steps.filter(generation=run.generation).last()
    where = f" at the step {step.name}" if step else ""
    raise StepFailed(
        "STEP_KEPT_DYING",
        f"The worker, or the unit of its job, died {run.attempts - 1} times{where}.",
        next_action="\n".join(lines),
    )


def _fail_run(config: Config, run: Run, claim: Claim, failed: StepFailed) -> None:
    """End the run as failed. Shipping is frozen if its commit stays in the target branch."""
    run.refresh_from_db()
    # Every further run would fail for the same cause, so this freezes shipping too.
    is_diverged = failed.code == "MAIN_DIVERGED"
    # What stays in the target branch would ship with the next run (docs/decisions/0009).
    remains_in_target_branch = run.status == Status.DEPLOYING or (
        run.status == Status.MERGING
        and not is_diverged
        and not shipping.remove_from_target_branch(config, run)
    )
    next_action = failed.next_action
    if remains_in_target_branch:
        next_action = "\n".join(
            recovery_commands.commands_after_deploy(config, run, next_action.splitlines())
        )
    finish.finish_run(
        config, run, claim, Status.FAILED, failed.code, failed.detail, next_action,
        freeze_shipping=remains_in_target_branch or is_diverged,
    )  # fmt: skip


def kill_leftover_processes(claim: Claim) -> None:
    """Kill the processes that a worker with an earlier claim left when it was killed."""
    for fence in range(max(1, claim.fence - LEFTOVER_FENCES), claim.fence):
        jobs.kill_marked(f"{claim.pk}:{fence}")


def enqueue_unclaimed_runs() -> int:
    """Enqueue every run that has steps to perform and no worker (the sweeper). Returns how many.

    Each run is enqueued at most once in REENQUEUE_SECONDS.
    """
    at = get_database_time()
    is_unclaimed = Q(claim_expires_at=None) | Q(claim_expires_at__lt=at)
    is_due = Q(enqueued_at=None) | Q(enqueued_at__lt=at - timedelta(seconds=REENQUEUE_SECONDS))
    has_steps = Q(status=Status.PREPARING) | Q(status__in=SHIPPING) | ~Q(stop_status="")
    ours = Run.objects.on_host(settings.OROBOROS.host_name)
    runs = ours.unfinished().filter(is_unclaimed & is_due & has_steps)
    # After the database's conditions, because the merge queue may run git.
    run_ids = [
        run.pk for run in runs if run.stop_status or get_pending_steps(settings.OROBOROS, run)
    ]
    if not run_ids:
        return 0
    # Together: `enqueued_at` without its task would only delay the run.
    with transaction.atomic():
        Run.objects.filter(pk__in=run_ids).update(enqueued_at=at)
        for run_id in run_ids:
            enqueue(run_id)
    return len(run_ids)
