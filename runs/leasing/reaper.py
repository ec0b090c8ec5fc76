"""The reaper: leases that ran out are fenced, their runs expire, their slots are cleaned."""

from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Q

from core.clock import ClockTimestamp, database_time
from runs.leasing.cleanup import clean_and_finish
from runs.leasing.grants import entered
from runs.leasing.leases import begin_ending
from runs.leasing.reservations import ask_to_stop
from runs.leasing.rules import PREVIEW_EXPIRED
from runs.models import Run
from runs.rules import FAILURES, SHIPPING, Status
from slots.models import Lease
from slots.rules import LeaseState

REAPER = "reaper"


@dataclass
class Reaped:
    """What one call of the reaper fenced, and the leases whose slots are to be cleaned."""

    slot_ids: list[str] = field(default_factory=list)
    to_clean: list[Lease] = field(default_factory=list)


def expired() -> list[Lease]:
    """Return the leases that have run out, by run; looked at, not locked."""
    at = ClockTimestamp()
    return list(
        Lease.objects.filter(state=LeaseState.HELD, is_pinned=False, expires_at__lte=at)
        .exclude(run__status__in=SHIPPING)
        .select_related("slot")
        .order_by("run_id")
    )


def reap_expired(actor: str = REAPER) -> Reaped:
    """Fence what ran out, expire its runs, clean in place; grant whatever is free.

    A second reaper at the same time finds nothing.
    """
    reaped = Reaped()
    with entered() as pool:
        leases = expired()
        runs = Run.objects.select_for_update(no_key=True).in_bulk(
            [lease.run_id for lease in leases]
        )
        for lease in leases:
            _reap(lease, runs[lease.run_id], reaped, actor)
        pool.grant()
    for lease in reaped.to_clean:
        clean_and_finish(settings.OROBOROS, lease)
    return reaped


def _reap(lease: Lease, run: Run, reaped: Reaped, actor: str) -> None:
    """Fence one lease, unless it was renewed or pinned while we waited for its run's row."""
    late = Q(is_pinned=False, expires_at__lte=ClockTimestamp(), state=LeaseState.HELD)
    if run.status in SHIPPING or not Lease.objects.select_for_update().filter(late, pk=lease.pk):
        return
    reaped.slot_ids.append(str(lease.slot))
    cause = FAILURES[PREVIEW_EXPIRED].cause
    if run.is_claimed(database_time()):
        begin_ending(run, reason=PREVIEW_EXPIRED, actor=actor)
        ask_to_stop(run, to=Status.EXPIRED, code=PREVIEW_EXPIRED, reason=cause, actor=actor)
        return
    to_clean = begin_ending(run, reason=cause, to=Status.EXPIRED, code=PREVIEW_EXPIRED, actor=actor)
    if to_clean is not None:
        reaped.to_clean.append(to_clean)
