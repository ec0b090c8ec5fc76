"""The leases of runs: requesting a slot, extending the lease, ending it.

Ending a lease has two parts. `begin_ending` fences it: from then on no write that names it is
accepted. Then the slot is cleaned, and only `cleanup.finish_ending` grants it to the next run.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import transaction

from host.errors import Refused
from host.operator_settings import run_time
from runs.engine.events import record_event
from runs.leasing.grants import GrantTransaction, execute_under_grant_lock, grant_lock
from runs.leasing.rules import LeaseFenced
from runs.leasing.sql import GRANT_SLOTS, REQUEST_SLOT
from runs.models import Run
from runs.rules import Status
from slots.models import Lease, LeaseMoveRefused
from slots.rules import LeaseState

# A waiting reservation whose client does not repeat its acquire for this long leaves the queue.
RESERVATION_TIMEOUT_SECONDS = 60


class QueueFull(Refused):
    """As many runs as OROBOROS_QUEUE_LIMIT allows wait for a slot already (429)."""

    def __init__(self) -> None:
        detail = f"{settings.QUEUE_LIMIT} runs wait for a slot already; try again later."
        super().__init__("queue_full", detail, status=429)


def read_preview_seconds() -> int:
    """Return PREVIEW_TTL_SECONDS as it is now: how long a new lease is held."""
    return run_time.read_number(settings.OROBOROS, run_time.PREVIEW_TTL)


def build_request(
    run_id: uuid.UUID, *, actor: str, owner: str | None = None, ttl_seconds: int | None = None
) -> dict[str, Any]:
    """Return the parameters of REQUEST_SLOT. `owner`: who must have created the run, if given."""
    return {
        "run": run_id,
        "actor": actor,
        "owner": owner,
        "ttl": read_preview_seconds() if ttl_seconds is None else ttl_seconds,
        "timeout": RESERVATION_TIMEOUT_SECONDS,
        "limit": settings.QUEUE_LIMIT,
    }


def request_slot(run: Run, *, actor: str) -> Lease:
    """Grant the run a slot, or put it into the queue; returns its lease, the same when repeated.

    Raises Refused `not_queued`, QueueFull.
    """
    with transaction.atomic():
        execute_under_grant_lock(REQUEST_SLOT, GRANT_SLOTS, **build_request(run.pk, actor=actor))
        # In the same transaction: while the grant lock is held, no other process ends the lease.
        run.refresh_from_db()
        lease = Lease.objects.open().select_related("slot").filter(run=run).first()
        if lease is not None:
            return lease
    # REQUEST_SLOT gives no reason: the queue is full unless the run's status forbids to wait.
    if run.status != Status.QUEUED:
        raise Refused("not_queued", f"The run is {run.status}; only a queued run waits for a slot.")
    raise QueueFull


def begin_ending(
    run: Run, *, reason: str, actor: str, to: Status | None = None, code: str = ""
) -> Lease | None:
    """Fence the run's lease, and with `to` also move the run, in one transaction.

    Returns the lease if its slot must be cleaned (`cleanup.clean_and_finish`). Otherwise the lease
    has ended and the next run was granted the slot: None.
    """
    with grant_lock() as granting:
        if to is not None:
            next_action = run.choose_next_action(code)
            run.move(to, failure_code=code, failure_detail=reason, next_action=next_action)
        leases = Lease.objects.open().filter(run=run).select_related("slot")
        # Only the lease: the slot is an outer join, whose nullable side PostgreSQL cannot lock.
        lease = leases.select_for_update(of=("self",)).first()
        if lease is None or lease.state == LeaseState.ENDING:
            return lease
        return _fence(granting, run, lease, code or reason, actor)


def _fence(
    granting: GrantTransaction, run: Run, lease: Lease, reason: str, actor: str
) -> Lease | None:
    was_held = lease.state == LeaseState.HELD
    lease.begin_ending(reason=reason)
    if lease.slot is not None:
        text = f"the lease on {lease.slot.slot_id} ended: {reason}"
        data = {"fence": lease.fence, "reason": reason}
        record_event("lease_ended", text, actor=actor, run=run, slot_id=lease.slot.slot_id, **data)
    if lease.state == LeaseState.ENDING:
        return lease
    # A lease that only waited leaves no slot free.
    if was_held:
        granting.grant_slots()
    return None


def renew_lease(run: Run) -> None:
    """Extend the run's lease by its whole TTL from now. Raises LeaseFenced."""
    _change_lease(run, Lease.extend)


def keep(run: Run, *, actor: str, seconds: int) -> datetime:
    """Extend the run's lease to at least `seconds` from now, at most PREVIEW_KEEP_SECONDS.

    Returns when it expires: later than that, if it did before. Raises Refused `keep_too_long`
    (400), LeaseFenced.
    """
    if not 0 < seconds <= settings.PREVIEW_KEEP_SECONDS:
        limit = settings.PREVIEW_KEEP_SECONDS // 3600
        raise Refused("keep_too_long", f"A preview is kept for 1 s to {limit} h.", status=400)
    with transaction.atomic():
        # The event comes first: its foreign key locks the run's row, and runs are locked before
        # leases (see runs.leasing.grants).
        record_event(
            "kept",
            f"keeps its slot for at least {seconds} s",
            actor=actor,
            run=run,
            seconds=seconds,
        )
        return _change_lease(run, Lease.extend, timedelta(seconds=seconds))


def pin_lease(run: Run) -> None:
    """Keep the run's lease from expiring. Raises LeaseFenced."""
    _change_lease(run, Lease.pin)


def unpin_lease(run: Run) -> None:
    """Let the run's lease expire at the time that it has; nothing if it holds none."""
    lease = Lease.objects.filter(run=run, state=LeaseState.HELD).first()
    if lease is not None:
        lease.unpin()


def _change_lease(run: Run, change: Any, *arguments: Any) -> datetime:
    """Change the run's valid lease; returns when it expires. Raises LeaseFenced."""
    lease = Lease.objects.filter(run=run, state=LeaseState.HELD).first()
    if lease is None:
        raise LeaseFenced
    try:
        change(lease, *arguments)
    except LeaseMoveRefused as refused:
        raise LeaseFenced from refused
    return cast("datetime", lease.expires_at)  # a lease on a slot has one
