"""Who may write for a lease, and what a release does: values in, values out."""

from dataclasses import dataclass
from enum import Enum

from host.errors import Refused
from runs.rules import SHIPPING, Status
from slots.rules import LeaseState

RELEASED = "RELEASED"
PREVIEW_EXPIRED = "PREVIEW_EXPIRED"


@dataclass(frozen=True)
class View:
    """A run and its own last lease on one slot."""

    run_status: str
    created_by: str
    is_claimed: bool
    lease_id: int | None
    state: str | None
    fence: int | None
    end_reason: str


class Release(Enum):
    """What a release does."""

    NOTHING = "the run released the slot before"
    CANCEL = "the run is canceled, then the slot is cleaned"
    ASK_TO_STOP = "whoever works on the run kills its commands, cancels it and cleans"
    TAKE_SLOT = "the run ships on without its slot"


def fenced(
    detail: str = "The lease is over; nothing was changed. Ask for a slot again.",
) -> Refused:
    """Return the refusal of whoever writes for a lease that is over."""
    return Refused("lease_fenced", detail)


def check_owner(created_by: str, owner: str | None) -> None:
    """Raise Refused `lease_not_yours` (403) unless `owner` made the run; None may touch any."""
    if owner is not None and created_by != owner:
        detail = "Somebody else made this run; an operator may act for them."
        raise Refused("lease_not_yours", detail, status=403)


def check_holder(view: View, fence: int | None) -> None:
    """Raise Refused unless the run's lease with that fence is held.

    `not_holder` if another run, or nobody, has the slot; `lease_fenced` if the lease of the run
    is over or has another fence.
    """
    if view.lease_id is None:
        raise Refused("not_holder", "The run does not hold this slot.")
    if view.state != LeaseState.HELD:
        raise fenced()
    if fence is not None and fence != view.fence:
        raise fenced(f"The lease's fence is {view.fence} now; nothing was changed.")


def check_force(*, force: bool, reason: str) -> None:
    """Raise Refused `reason_required` (400) for force without a reason."""
    if force and not reason.strip():
        raise Refused("reason_required", "Say why the release is forced.", status=400)


def release(view: View, fence: int | None, *, force: bool) -> Release:
    """Return what a release does.

    Raises Refused `not_holder`, `lease_fenced`, `run_is_shipping`.
    """
    if view.state in (LeaseState.ENDING, LeaseState.ENDED) and _gave_up(view, fence):
        return Release.NOTHING
    check_holder(view, fence)
    if view.run_status not in SHIPPING:
        return Release.ASK_TO_STOP if view.is_claimed else Release.CANCEL
    if not force:
        detail = "The run ships; its slot is released when it is merged, or by force with a reason."
        raise Refused("run_is_shipping", detail)
    if view.run_status == Status.DEPLOYING:
        return Release.TAKE_SLOT
    is_idle = view.run_status == Status.APPROVED and not view.is_claimed
    return Release.CANCEL if is_idle else Release.ASK_TO_STOP


def _gave_up(view: View, fence: int | None) -> bool:
    """Whether the run let the lease go itself, so that a second release is a retry."""
    return view.end_reason != PREVIEW_EXPIRED and fence in (None, view.fence)
