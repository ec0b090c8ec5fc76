"""The end of a run, whoever asks for it: its row, its lease, what it has on the machine."""

import logging

from django_q.tasks import async_task

from core.claims import Claim
from host.config import Config
from host.errors import Refused
from runs import merge_queue
from runs.engine import journal
from runs.engine.journal import record
from runs.leasing import leases
from runs.models import Run
from runs.pipelines import merge_gate, shipping
from runs.rules import FAILURES, SHIPPING, Status
from slots.models import Lease

log = logging.getLogger(__name__)


def is_past_stopping(run: Run) -> bool:
    """Whether the run has begun what cannot be taken back by stopping it."""
    return run.status in SHIPPING and journal.is_past_stopping(run, shipping.ACTIONS)


def end(
    config: Config,
    run: Run,
    claim: Claim,
    to: Status,
    code: str = "",
    detail: str = "",
    next_action: str = "",
    actor: str = journal.WORKER,
    *,
    freezes: bool = False,
) -> None:
    """Move a claimed run to its end, and take away what it has; the next one's turn comes.

    Where it `freezes`, nobody else ships until a person says so. Raises ClaimLost.
    """
    is_merged = to == Status.MERGED
    mended = [
        one for one in merge_queue.standing_freezes() if is_merged and merge_queue.passes(run, one)
    ]
    with leases.entered():
        journal.claimed(claim)
        lease = move_to_end(
            run,
            claim,
            to,
            code=code,
            detail=detail,
            next_action=next_action,
            actor=actor,
            is_guided=freezes or code == "DEPLOY_PUSH_FAILED",
        )
        if freezes:
            merge_queue.freeze_for(run, actor=actor, reason=f"{code}: {detail}")
        if is_merged:
            merge_queue.lift_mended(run, mended, actor)
            async_task("runs.pipelines.template_databases.warm")
    merge_queue.ring_next()
    clear(config, run, lease)


def clear(config: Config, run: Run, lease: Lease | None) -> None:
    """Take away what an ended run has on the machine; what stays is the reconciler's."""
    run.refresh_from_db()
    if run.is_final and run.approved_at is not None:
        try:
            merge_gate.close(config, run)
        except (Refused, OSError) as accident:
            log.warning("the gate of run %s is not closed: %s", run.pk, accident)
    leases.clean_and_finish(config, lease)


def move_to_end(
    run: Run,
    claim: Claim | None,
    to: Status,
    *,
    code: str,
    detail: str,
    actor: str,
    next_action: str = "",
    is_guided: bool = False,
) -> Lease | None:
    """Move the run to its end, fence its lease, tell it; the lease is to be cleaned after.

    What shipping cannot simply go on after has its guidance as an event of its own.
    """
    remedy = next_action or (FAILURES[code].remedy if code else run.next_action)
    run.move(to, claim=claim, failure_code=code, failure_detail=detail, next_action=remedy)
    text = ": ".join(part for part in (str(to), code, detail) if part)
    record(to, text, actor=actor, run=run, next_action=remedy)
    if is_guided:
        record("rollback_guidance", f"To look and to go on:\n{remedy}", actor=actor, run=run)
    return leases.begin_ending(run, reason=code or str(to), actor=actor)
