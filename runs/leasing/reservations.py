"""What the holder of a slot does over the API: acquire, heartbeat, release.

A client may do each many times a second, so that the common cases are one round trip each.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from core.clock import get_database_time
from core.prepared_statements import fetch
from host.config import SlotConfig
from host.errors import Refused
from runs.engine.enqueue import enqueue
from runs.engine.events import record_event
from runs.leasing import rules
from runs.leasing.cleanup import clean_and_finish
from runs.leasing.grants import execute_under_grant_lock, grant_lock
from runs.leasing.leases import QueueFull, begin_ending, build_request
from runs.leasing.rules import RELEASED, LeaseFenced, ReleaseEffect, RunLease
from runs.leasing.sql import (
    GRANT_SLOTS,
    READ_RESERVATION,
    RELEASE_RESERVATION,
    REQUEST_SLOT,
    SEND_HEARTBEAT,
)
from runs.models import Run
from runs.rules import FINAL, Status
from slots.models import Lease
from slots.rules import LeaseState


class RunUnknown(Refused):
    """There is no run with that id (404)."""

    def __init__(self) -> None:
        super().__init__("run_unknown", "There is no such run.", status=404)


@dataclass(frozen=True)
class AcquireResult:
    """The answer to an acquire: a held lease, or a position in the queue (1 is next)."""

    slot_id: str | None
    position: int | None
    fence: int | None
    expires_at: datetime | None
    ttl_seconds: int


def acquire(
    run_id: uuid.UUID, *, actor: str, owner: str | None, ttl_seconds: int | None
) -> AcquireResult:
    """Grant the run a slot, or put it into the queue. Repeated, it returns the same lease.

    `owner` must have created the run; None for an operator. Raises RunUnknown, Refused
    `lease_not_yours` (403), `run_ended`, LeaseFenced, QueueFull.
    """
    values = build_request(run_id, actor=actor, owner=owner, ttl_seconds=ttl_seconds)
    [*_, rows] = execute_under_grant_lock(REQUEST_SLOT, GRANT_SLOTS, READ_RESERVATION, **values)
    if not rows:
        raise RunUnknown
    status, created_by, state, slot_id, fence, expires_at, ttl, is_expired, position = rows[0]
    rules.check_owner(created_by, owner)
    if status in FINAL:
        raise Refused("run_ended", f"The run is {status}; make a new one.")
    if state is None:
        raise QueueFull
    if state == LeaseState.ENDING or is_expired:  # an acquire does not renew a lease
        raise LeaseFenced
    return AcquireResult(slot_id, position, fence, expires_at, ttl)


def heartbeat(
    slot: SlotConfig, run_id: uuid.UUID, *, fence: int | None, owner: str | None
) -> datetime:
    """Record that the holder lives, which renews a reservation. Returns when the lease expires.

    Raises RunUnknown, Refused `lease_not_yours` (403), `not_holder`, LeaseFenced.
    """
    host = settings.OROBOROS.host_name
    values = {"run": run_id, "host": host, "slot": slot.slot_id, "fence": fence, "owner": owner}
    [rows] = fetch(SEND_HEARTBEAT, **values)
    if rows:
        return rows[0][0]
    # Only to find the reason: these queries lock nothing, and the answer is a refusal in any case.
    lease = read_run_lease(run_id, host, slot.slot_id)
    rules.check_owner(lease.created_by, owner)
    rules.check_holder(lease, fence)
    raise LeaseFenced("The lease expired; nothing was changed. Ask for a slot again.")


def read_run_lease(run_id: uuid.UUID, host: str, slot_id: str) -> RunLease:
    """Return the run and its latest lease on the slot. Raises RunUnknown."""
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise RunUnknown
    leases = Lease.objects.on_host(host).filter(run=run, slot__slot_id=slot_id)
    # A run may have held the slot before; fences only grow, so the highest is its latest lease.
    lease = leases.order_by("-fence").first()
    return RunLease(
        run_status=run.status,
        created_by=run.created_by,
        is_claimed=run.is_claimed(get_database_time()),
        lease_id=lease.pk if lease else None,
        state=lease.state if lease else None,
        fence=lease.fence if lease else None,
        end_reason=lease.end_reason if lease else "",
    )


def release(
    slot: SlotConfig,
    run_id: uuid.UUID,
    *,
    actor: str,
    owner: str | None,
    fence: int | None = None,
    force: bool = False,
    reason: str = "",
) -> bool:
    """Release the run's slot and clean it; False if the run released it before.

    A reservation's run is queued again; one with a preview is canceled with RELEASED, by the
    process that works on it if there is one. Raises RunUnknown, Refused `lease_not_yours` (403),
    `not_holder`, `run_is_shipping`, `reason_required`, LeaseFenced.
    """
    text = ("released by force" if force else "released") + (f": {reason}" if reason else "")
    values = {
        "run": run_id,
        "slot": slot.slot_id,
        "actor": actor,
        "owner": owner,
        "fence": fence,
        "code": RELEASED,
        "text": text,
        "reason": reason,
    }
    rules.check_force(force=force, reason=reason)
    # Most releases end here, after one round trip (docs/decisions/0011).
    if execute_under_grant_lock(RELEASE_RESERVATION, GRANT_SLOTS, **values)[0]:
        return True
    with grant_lock() as granting:
        # Again, because the run may have been granted the slot between the two transactions.
        if granting.execute(RELEASE_RESERVATION, GRANT_SLOTS, **values)[0]:
            return True
        run = Run.objects.select_for_update(no_key=True).filter(pk=run_id).first()
        effect = _decide_release(slot, run_id, owner, fence, force=force)
        if effect is ReleaseEffect.ALREADY_RELEASED or run is None:
            return False
        lease = _apply_release(run, effect, slot, actor, text)
    clean_and_finish(settings.OROBOROS, lease)
    return True


def _decide_release(
    slot: SlotConfig, run_id: uuid.UUID, owner: str | None, fence: int | None, *, force: bool
) -> ReleaseEffect:
    lease = read_run_lease(run_id, settings.OROBOROS.host_name, slot.slot_id)
    rules.check_owner(lease.created_by, owner)
    return rules.decide_release(lease, fence, force=force)


def _apply_release(
    run: Run, effect: ReleaseEffect, slot: SlotConfig, actor: str, text: str
) -> Lease | None:
    """Fence the lease and cancel the run, or request that; returns the lease to clean up."""
    record_event("released", text, actor=actor, run=run, slot_id=slot.slot_id)
    if effect is ReleaseEffect.CANCEL_RUN:
        return begin_ending(run, reason=text, to=Status.CANCELED, code=RELEASED, actor=actor)
    lease = begin_ending(run, reason=RELEASED, actor=actor)
    if effect is ReleaseEffect.END_LEASE:
        return lease
    request_stop(run, to=Status.CANCELED, code=RELEASED, reason=text, actor=actor)
    return None


def request_stop(run: Run, *, to: Status, code: str, reason: str, actor: str) -> None:
    """Have the process that works on the run, or the next that claims it, move it to `to`."""
    run.request_stop(to=to, code=code, reason=reason, actor=actor)
    enqueue(run.pk)
