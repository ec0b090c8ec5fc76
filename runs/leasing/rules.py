"""Who may write for a lease, and what a release does: decisions without I/O."""

from dataclasses import dataclass
from enum import Enum

from host.errors import Refused
from runs.rules import SHIPPING, Status, require_reason
from slots.rules import LeaseState
from web import permissions

RELEASED = "RELEASED"
PREVIEW_EXPIRED = "PREVIEW_EXPIRED"
# The runs whose preview is complete: before that their steps start and stop its processes.
WITH_PREVIEW = (Status.PREVIEW_READY, *SHIPPING)
NO_PROCESSES = "The preview has files only: it has no processes."
NOT_READY = "The preview is not ready; its processes are started when it is prepared."


class LeaseFenced(Refused):
    """The lease is over, or has another fence: nothing was written."""

    def __init__(
        self, detail: str = "The lease is over; nothing was changed. Ask for a slot again."
    ) -> None:
        super().__init__("lease_fenced", detail)


@dataclass(frozen=True)
class RunLease:
    """A run, and its own latest lease on one slot; the last four are None or "" without one."""

    run_status: str
    created_by: str
    is_claimed: bool
    lease_id: int | None
    state: str | None
    fence: int | None
    end_reason: str


class ReleaseEffect(Enum):
    """What a release does."""

    ALREADY_RELEASED = "the run released the slot before"
    CANCEL_RUN = "the run is canceled, then the slot is cleaned"
    REQUEST_STOP = "the process that works on the run stops its commands, cancels it and cleans"
    END_LEASE = "the lease ends, and the run ships without its slot"


def check_owner(created_by: str, owner: str | None) -> None:
    """Raise Refused `lease_not_yours` (403) unless `owner` created the run; None may change any."""
    permissions.check_owner(created_by, owner, code="lease_not_yours")


def check_holder(lease: RunLease, fence: int | None) -> None:
    """Raise Refused unless the run's lease is held with this fence (None: with any).

    `not_holder` if the run never held the slot; LeaseFenced if its lease is over or has another
    fence.
    """
    if lease.lease_id is None:
        raise Refused("not_holder", "The run does not hold this slot.")
    if lease.state != LeaseState.HELD:
        raise LeaseFenced
    if fence is not None and fence != lease.fence:
        raise LeaseFenced(f"The lease's fence is {lease.fence} now; nothing was changed.")


def check_restart(lease: RunLease, fence: int | None) -> None:
    """Raise Refused as `check_holder`, and `preview_not_ready` while it is being prepared."""
    check_holder(lease, fence)
    if lease.run_status not in WITH_PREVIEW:
        raise Refused("preview_not_ready", NOT_READY)


def check_force(*, force: bool, reason: str) -> None:
    """Raise Refused `reason_required` (400) for force without a reason."""
    if force:
        require_reason(reason, "Say why the release is forced.")


def decide_release(lease: RunLease, fence: int | None, *, force: bool) -> ReleaseEffect:
    """Return what a release does.

    Raises Refused `not_holder`, `run_is_shipping`, LeaseFenced.
    """
    is_over = lease.state in (LeaseState.ENDING, LeaseState.ENDED)
    if is_over and _is_repeated_release(lease, fence):
        return ReleaseEffect.ALREADY_RELEASED
    check_holder(lease, fence)
    if lease.run_status not in SHIPPING:
        return ReleaseEffect.REQUEST_STOP if lease.is_claimed else ReleaseEffect.CANCEL_RUN
    if not force:
        detail = "The run ships; its slot is released when it is merged, or by force with a reason."
        raise Refused("run_is_shipping", detail)
    # A deployment is finished in any case; only the slot is taken from it.
    if lease.run_status == Status.DEPLOYING:
        return ReleaseEffect.END_LEASE
    # A run that waits to ship has no worker that could cancel it; a merge is stopped by its worker.
    is_waiting = lease.run_status == Status.APPROVED and not lease.is_claimed
    return ReleaseEffect.CANCEL_RUN if is_waiting else ReleaseEffect.REQUEST_STOP


def _is_repeated_release(lease: RunLease, fence: int | None) -> bool:
    """Return whether the run itself released the lease, so that this is a client's retry."""
    # Not after the reaper ended it: a holder must learn that its lease had expired.
    return lease.end_reason != PREVIEW_EXPIRED and fence in (None, lease.fence)
