"""Ending a run: its row, its lease, and what it has on the machine."""

import logging

from django_q.tasks import async_task

from core.claims import Claim
from host.config import Config
from host.errors import Refused
from runs import landing, merge_queue
from runs.engine import journal
from runs.engine.events import WORKER, record_event
from runs.freezes import freeze_for_failed_run, lift_repaired_freezes, list_repaired_freezes
from runs.leasing import leases
from runs.leasing.cleanup import clean_and_finish
from runs.leasing.grants import grant_lock
from runs.models import Run
from runs.pipelines import merge_gate, shipping
from runs.rules import SHIPPING, Status
from slots.models import Lease

log = logging.getLogger(__name__)


def is_too_late_to_stop(run: Run) -> bool:
    """Return whether the run has begun a step that stopping it would not undo."""
    return run.status in SHIPPING and (
        journal.has_begun_irreversible_step(run, shipping.STEPS) or bool(landing.find_landed(run))
    )


def finish_run(
    config: Config,
    run: Run,
    claim: Claim,
    to: Status,
    code: str = "",
    detail: str = "",
    next_action: str = "",
    actor: str = WORKER,
    *,
    freeze_shipping: bool = False,
) -> None:
    """Move a claimed run to the final status `to`, clean up, and enqueue the next run to ship.

    With `freeze_shipping`, shipping stops until an operator lifts the freeze. Raises ClaimLost.
    """
    is_merged = to == Status.MERGED
    # Runs git, so it happens before the grant lock is taken.
    repaired = list_repaired_freezes(config, run) if is_merged else []
    with grant_lock():
        journal.lock_claimed_run(claim)
        lease = move_to_final_status(
            run,
            claim,
            to,
            code=code,
            detail=detail,
            next_action=next_action,
            actor=actor,
            has_recovery_commands=freeze_shipping or code == "DEPLOY_PUSH_FAILED",
        )
        if freeze_shipping:
            freeze_for_failed_run(run, actor=actor, reason=f"{code}: {detail}")
        if is_merged:
            lift_repaired_freezes(run, repaired, actor)
            # Previews need the template of the new target commit; it is built before the next one
            # needs it.
            async_task("runs.pipelines.template_databases.build_current_template")
    # After the lock, because it runs git; before the cleanup, because that takes seconds.
    merge_queue.enqueue_next(config)
    clean_up_run(config, run, lease)


def clean_up_run(config: Config, run: Run, lease: Lease | None) -> None:
    """Remove what an ended run has on the machine. The reconciler removes what this leaves."""
    run.refresh_from_db()
    # Only an approved run has had a gate; removing one connects to the database server.
    if run.is_final and run.approved_at is not None:
        try:
            merge_gate.remove_gate(config, run.pk)
        except (Refused, OSError) as error:
            # The run has ended all the same; the slot below must be cleaned in any case.
            log.warning("the merge gate of run %s was not removed: %s", run.pk, error)
    clean_and_finish(config, lease)


def move_to_final_status(
    run: Run,
    claim: Claim | None,
    to: Status,
    *,
    code: str,
    detail: str,
    actor: str,
    next_action: str = "",
    has_recovery_commands: bool = False,
) -> Lease | None:
    """Move the run to a final status and fence its lease, which the caller cleans after the commit.

    With `has_recovery_commands`, the next action is an event of its own, as the runbook says.
    """
    remedy = run.choose_next_action(code, next_action)
    run.move(to, claim=claim, failure_code=code, failure_detail=detail, next_action=remedy)
    text = ": ".join(part for part in (str(to), code, detail) if part)
    record_event(to, text, actor=actor, run=run, next_action=remedy)
    if has_recovery_commands:
        record_event(
            "rollback_guidance", f"To investigate and to continue:\n{remedy}", actor=actor, run=run
        )
    return leases.begin_ending(run, reason=code or str(to), actor=actor)
