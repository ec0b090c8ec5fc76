"""The merge queue: which run ships next. One run at a time ships, in the order of approval.

Git decides which runs may ship during a freeze. It runs before the grant lock is taken, never under
it: everything that leases a slot waits for that lock.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from core.claims import Claim
from core.clock import get_database_time
from host.config import Config
from runs import freezes, rollback_state
from runs.engine.enqueue import enqueue
from runs.engine.events import record_event
from runs.engine.journal import advance_run, lock_claimed_run
from runs.freezes import describe_freeze, list_active_freezes
from runs.leasing.grants import grant_lock
from runs.models import Freeze, Run
from runs.rules import MERGING_OR_DEPLOYING, Status, require_reason

# (run, its commit, freeze): the run may ship during the freeze.
AllowedDuringFreeze = frozenset[tuple[uuid.UUID, str, int]]


def list_queue() -> list[Run]:
    """Return the runs that ship or wait for it: the one that ships first, then by approval."""
    # sorted() is stable: the approved runs stay in the order of their approval.
    return sorted(Run.objects.shipping(), key=lambda run: run.status == Status.APPROVED)


def find_runs_allowed_during_freeze(config: Config, runs: Sequence[Run]) -> AllowedDuringFreeze:
    """Return which of the runs may ship during which active freeze. Runs git."""
    if not runs:
        return frozenset()
    return frozenset(
        # With the commit: the result does not hold for a commit that the run gets afterwards.
        (run.pk, run.commit_sha, freeze.pk)
        for freeze in list_active_freezes()
        for run in runs
        if freezes.can_ship_despite(config, run, freeze)
    )


def _find_next(runs: Sequence[Run], allowed: AllowedDuringFreeze) -> Run | None:
    """Return the run that ships, else the first that neither a freeze nor a check stops.

    A freeze that is newer than `allowed` stops every run: the next enqueueing tries again.
    """
    if runs and runs[0].status in MERGING_OR_DEPLOYING:
        return runs[0]
    active = list_active_freezes() if runs else []
    for run in runs:
        if run.awaited_checks:
            continue
        if all((run.pk, run.commit_sha, freeze.pk) in allowed for freeze in active):
            return run
    return None


def get_next_run(config: Config) -> Run | None:
    """Return the run that ships now or that ships next; None if there is none."""
    runs = list_queue()
    # Git is not needed: while a run ships, no other one may begin.
    if runs and runs[0].status in MERGING_OR_DEPLOYING:
        return runs[0]
    return _find_next(runs, find_runs_allowed_during_freeze(config, runs))


def is_next(config: Config, run: Run) -> bool:
    """Return whether this run may ship now."""
    next_run = get_next_run(config)
    return next_run is not None and next_run.pk == run.pk


def begin_shipping(config: Config, run: Run, claim: Claim) -> bool:
    """Move the run to MERGING if it is next. False, and nothing changed, if it is not.

    A rollback freezes shipping here at the latest. Approvals take the grant lock too, so that the
    order cannot change before the move.
    """
    rollback_state.sync_rollback_freeze(config)
    allowed = find_runs_allowed_during_freeze(config, list_queue())
    with grant_lock():
        lock_claimed_run(claim)
        # The branch may have got a new commit, which voids the approval, before the lock was taken.
        run.refresh_from_db()
        if run.status != Status.APPROVED or _find_next(list_queue(), allowed) != run:
            return False
        advance_run(run, Status.MERGING, claim)
    return True


def enqueue_next(config: Config) -> None:
    """Enqueue the run that ships next, unless a process works on it already."""
    run = get_next_run(config)
    if run is not None and not run.is_claimed(get_database_time()):
        enqueue(run.pk)


def sync_rollback_freeze(config: Config) -> list[str]:
    """Freeze shipping after a rollback, or lift that freeze and enqueue the next run.

    Returns a sentence if a freeze was lifted.
    """
    if not rollback_state.sync_rollback_freeze(config):
        return []
    enqueue_next(config)
    return ["production is not rolled back any more: shipping goes on"]


def unfreeze_shipping(config: Config, *, actor: str, reason: str) -> int:
    """Lift every active freeze and enqueue the next run. Returns how many were lifted.

    Raises Refused `reason_required` (400).
    """
    require_reason(reason, "Say why shipping may go on.")
    with transaction.atomic():
        lifted = freezes.lift_freezes(list_active_freezes(), actor=actor, reason=reason)
        record_event("unfrozen", reason, actor=actor)
        enqueue_next(config)
    return lifted


@dataclass(frozen=True)
class MergeQueueEntry:
    """A run's position in the merge queue (1 is next), the run ahead of it, and what stops it."""

    run: Run
    position: int
    behind: Run | None
    freezes: list[Freeze]

    @property
    def is_frozen(self) -> bool:
        return bool(self.freezes)

    @property
    def is_stopped(self) -> bool:
        """Whether runs behind it ship before it."""
        return self.is_frozen or bool(self.run.awaited_checks)

    def describe_position(self) -> str:
        """Return the run's position and each freeze that stops it, one sentence a line."""
        if self.run.awaited_checks:
            text = f"Approved. {self.run.awaited_checks}"
        elif self.behind is not None:
            text = f"Approved; number {self.position} in the merge queue, after {self.behind}."
        else:
            text = "Approved; next to ship" + (" after the freeze." if self.is_frozen else ".")
        return "\n".join([text, *map(describe_freeze, self.freezes)])


def read_merge_queue(config: Config) -> dict[uuid.UUID, MergeQueueEntry]:
    """Return the entry of each run that ships or waits for it, in order. Runs git.

    A run that may ship is ahead of every run that a freeze or an external check stops.
    """
    entries: dict[uuid.UUID, MergeQueueEntry] = {}
    queue = list_queue()
    active = list_active_freezes() if queue else []
    for index, run in enumerate(queue):
        stops = (
            []
            if run.status in MERGING_OR_DEPLOYING
            else [freeze for freeze in active if not freezes.can_ship_despite(config, run, freeze)]
        )
        # A stopped run is behind every run before it; a free one only behind those that are free
        # too.
        is_stopped = stops or run.awaited_checks
        ahead = [other for other in queue[:index] if is_stopped or not entries[other.pk].is_stopped]
        entries[run.pk] = MergeQueueEntry(run, len(ahead) + 1, ahead[-1] if ahead else None, stops)
    return entries
