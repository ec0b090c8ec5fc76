"""The reaper: fences the leases that expired, expires their runs, and cleans their slots."""

from dataclasses import dataclass, field

from django.conf import settings

from core.clock import ClockTimestamp, get_database_time
from runs.engine.events import REAPER
from runs.leasing.cleanup import clean_and_finish
from runs.leasing.grants import grant_lock
from runs.leasing.leases import begin_ending
from runs.leasing.reservations import request_stop
from runs.leasing.rules import PREVIEW_EXPIRED
from runs.models import Run
from runs.rules import FAILURES, SHIPPING, Status
from slots.models import Lease


@dataclass
class ReapResult:
    """The slots whose leases one call of the reaper fenced, and the leases to clean up after."""

    slot_ids: list[str] = field(default_factory=list)
    to_clean: list[Lease] = field(default_factory=list)


def list_expired_leases() -> list[Lease]:
    """Return the expired leases on this host's slots, by run, without locking them."""
    return list(
        Lease.objects.expired(ClockTimestamp())
        .on_host(settings.OROBOROS.host_name)
        .exclude(run__status__in=SHIPPING)
        .select_related("slot")
        .order_by("run_id")
    )


def reap_expired(actor: str = REAPER) -> ReapResult:
    """Fence the expired leases of this host, expire their runs, clean, and grant the free slots.

    Another reaper that runs at the same time finds nothing.
    """
    result = ReapResult()
    with grant_lock() as granting:
        leases = list_expired_leases()
        # NO KEY UPDATE: an event that is recorded meanwhile, whose foreign key names the run, need
        # not wait.
        runs = Run.objects.select_for_update(no_key=True).in_bulk(
            [lease.run_id for lease in leases]
        )
        for lease in leases:
            _expire_lease(lease, runs[lease.run_id], result, actor)
        granting.grant_slots()
    # After the commit: cleaning takes seconds, and all grants wait for the lock.
    for lease in result.to_clean:
        clean_and_finish(settings.OROBOROS, lease)
    return result


def _expire_lease(lease: Lease, run: Run, result: ReapResult, actor: str) -> None:
    """Fence one lease, unless it was renewed or pinned while its run's row was waited for."""
    expired = Lease.objects.expired(ClockTimestamp()).select_for_update().filter(pk=lease.pk)
    if run.status in SHIPPING or not expired:
        return
    result.slot_ids.append(str(lease.slot))
    cause = FAILURES[PREVIEW_EXPIRED].cause
    if run.is_claimed(get_database_time()):
        # The lease is over at once; the run is moved by its worker, which stops its commands first.
        begin_ending(run, reason=PREVIEW_EXPIRED, actor=actor)
        request_stop(run, to=Status.EXPIRED, code=PREVIEW_EXPIRED, reason=cause, actor=actor)
        return
    to_clean = begin_ending(run, reason=cause, to=Status.EXPIRED, code=PREVIEW_EXPIRED, actor=actor)
    if to_clean is not None:
        result.to_clean.append(to_clean)
