"""Whose turn it is to ship, and what holds all: one run at a time, in the order of approval.

A failed deploy freezes shipping. What mends it passes: a descendant of the run that failed, or a
run whose files are those from before it; the freeze is lifted when that run is merged.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from core.claims import Claim
from core.clock import ClockTimestamp, database_time
from host.errors import Refused
from runs.engine.enqueue import ring
from runs.engine.journal import claimed, move_on, record
from runs.leasing.grants import entered
from runs.models import Freeze, Run
from runs.repository import repository
from runs.rules import AT_WORK, Status

# A freeze with an end has it within a year, of whatever length.
LONGEST_HOURS = 366 * 24.0


def in_order() -> list[Run]:
    """Return the runs that are shipping or wait for it: the one at work first, then by approval."""
    runs = list(Run.objects.shipping())
    return sorted(runs, key=lambda run: run.status == Status.APPROVED)


def next_run() -> Run | None:
    """Return the run whose turn it is: the one at work, else the first that no freeze holds."""
    runs = in_order()
    if runs and runs[0].status in AT_WORK:
        return runs[0]
    freezes = standing_freezes() if runs else []
    return next((run for run in runs if all(passes(run, one) for one in freezes)), None)


def has_its_turn(run: Run) -> bool:
    """Whether this run may ship now."""
    found = next_run()
    return found is not None and found.pk == run.pk


def take(run: Run, claim: Claim) -> bool:
    """Begin to ship if it is the run's turn. False, and nothing changed, if it is not.

    Approvals enter the pool too, so that the order cannot change under the decision.
    """
    with entered():
        claimed(claim)
        run.refresh_from_db()
        if run.status != Status.APPROVED or not has_its_turn(run):
            return False
        move_on(run, Status.MERGING, claim)
    return True


def ring_next() -> None:
    """Ring for the run whose turn it is to ship."""
    run = next_run()
    if run is not None and not run.is_claimed(database_time()):
        ring(run.pk)


# -- freezes --------------------------------------------------------------------------------------


def standing_freezes() -> list[Freeze]:
    """Return what holds shipping now, the newest first."""
    at = database_time()
    found = Freeze.objects.filter(lifted_at=None).select_related("run")
    return [one for one in found if one.until is None or one.until > at]


def passes(run: Run, freeze: Freeze) -> bool:
    """Whether the run may ship though that freeze stands, since it mends its cause."""
    failed = freeze.run
    if failed is None:
        return False
    return failed in run.ancestors() or _undoes(run, failed)


def _undoes(run: Run, failed: Run) -> bool:
    """Whether the run's files are exactly those from before the other was merged.

    Where that one retried what had failed too, before the first of them. Nothing undoes what the
    repository has lost.
    """
    repo = repository(settings.OROBOROS)
    if not failed.candidate_sha or not repo.contained(run.commit_sha, [failed.candidate_sha]):
        return False
    return repo.tree(run.commit_sha) == repo.tree(failed.chain()[-1].base_sha)


def freeze(*, actor: str, reason: str, until: datetime | None = None) -> Freeze:
    """Stop shipping until then, or until somebody lifts it.

    Raises Refused `reason_required`, `until_is_over`, `until_too_far` (400).
    """
    if not reason.strip():
        raise Refused("reason_required", "Say why shipping stands still.", status=400)
    with transaction.atomic():
        if until is not None:
            _check_hours((until - database_time()) / timedelta(hours=1))
        record("frozen", reason, actor=actor)
        return Freeze.objects.create(
            actor=actor, reason=reason, since=ClockTimestamp(), until=until
        )


def end_after(hours: float) -> datetime:
    """Return when a freeze of so many hours from now ends. Raises Refused as `freeze` does."""
    _check_hours(hours)
    return database_time() + timedelta(hours=hours)


def _check_hours(hours: float) -> None:
    """Refuse an end that is over, or so far that a calendar has no such day."""
    if hours <= 0:
        raise Refused("until_is_over", "That time is over already.", status=400)
    if not hours <= LONGEST_HOURS:  # nor is what is no number
        detail = "A freeze ends within a year; without an end it stands until somebody lifts it."
        raise Refused("until_too_far", detail, status=400)


def freeze_for(run: Run, *, actor: str, reason: str) -> None:
    """Stop shipping, naming the run that failed, until it is mended or somebody lifts it."""
    Freeze.objects.create(run=run, actor=actor, reason=reason, since=ClockTimestamp())
    record("frozen", f"shipping stands still: {reason}", actor=actor, run=run)


def unfreeze(*, actor: str, reason: str) -> int:
    """Lift every standing freeze and ring the next run. Returns how many were lifted."""
    if not reason.strip():
        raise Refused("reason_required", "Say why shipping may go on.", status=400)
    with transaction.atomic():
        lifted = _lift(standing_freezes(), actor, reason)
        record("unfrozen", reason, actor=actor)
        ring_next()
    return lifted


def lift_mended(run: Run, freezes: Iterable[Freeze], actor: str) -> None:
    """Lift the freezes whose cause this run mended, now that it is merged."""
    if _lift(freezes, actor, f"{run} was shipped"):
        record("unfrozen", "shipping goes on: this run mended what held it", actor=actor, run=run)


def _lift(freezes: Iterable[Freeze], actor: str, reason: str) -> int:
    standing = Freeze.objects.filter(pk__in=[one.pk for one in freezes], lifted_at=None)
    return standing.update(lifted_at=ClockTimestamp(), lifted_by=actor, lift_reason=reason)
