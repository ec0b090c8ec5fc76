"""What leases and slots may do: values in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.db.models import TextChoices


class LeaseState(TextChoices):
    """Where a lease is on its way; it never goes back."""

    WAITING = "waiting"
    HELD = "held"
    ENDING = "ending"
    ENDED = "ended"


# A tuple: a set has no order, and so would the constraint's migration.
ON_SLOT = (LeaseState.HELD, LeaseState.ENDING)
OPEN = (LeaseState.WAITING, LeaseState.HELD, LeaseState.ENDING)


class SlotState(TextChoices):
    """What a slot is to somebody who wants one."""

    FREE = "free"
    LEASED = "leased"
    CLEANING = "cleaning"
    QUARANTINED = "quarantined"
    DRAINED = "drained"


def slot_state(lease_state: str | None, *, is_quarantined: bool, is_drained: bool) -> SlotState:
    """Return what a slot is; a drained slot is leased until its lease is over."""
    if is_quarantined:
        return SlotState.QUARANTINED
    if lease_state == LeaseState.ENDING:
        return SlotState.CLEANING
    if lease_state == LeaseState.HELD:
        return SlotState.LEASED
    return SlotState.DRAINED if is_drained else SlotState.FREE


@dataclass(frozen=True)
class Room:
    """What the host has free, in MiB."""

    memory_mb: int
    disk_mb: int


def admission(free: Room, floor: Room) -> str:
    """Return why no slot is granted now, as a sentence for those who wait; "" if one may be."""
    short = [
        f"{have} MiB of {what} are free and {least} MiB must stay free"
        for what, have, least in (
            ("memory", free.memory_mb, floor.memory_mb),
            ("disk", free.disk_mb, floor.disk_mb),
        )
        if have < least
    ]
    return f"No slot is granted: {'; '.join(short)}." if short else ""


def estimate(position: int, held_seconds: Sequence[float], past: Sequence[float]) -> float | None:
    """Return in how many seconds the waiter at `position` (1 is next) may get a slot.

    `held_seconds`: how long each usable slot has been held (0 for a free one); `past`: how long
    earlier leases lasted. None where nothing is known or no slot is usable.
    """
    if not past or not held_seconds:
        return None
    usual = median(past)
    rest = sorted(max(0.0, usual - age) for age in held_seconds)
    rounds, place = divmod(position - 1, len(rest))
    return rest[place] + rounds * usual


# A backend that died is started again after so many seconds; then its run fails.
BACKOFF_SECONDS = (0.0, 2.0, 4.0, 8.0, 16.0)


def backoff(restarts: int) -> float | None:
    """Return how long to wait before the next restart, after so many in a row; None: no more."""
    return BACKOFF_SECONDS[restarts] if restarts < len(BACKOFF_SECONDS) else None


# A process that runs and does not answer is given so long before it counts as dead.
GRACE_SECONDS = 15.0


def is_restart_due(
    at: datetime, *, restart_at: datetime | None, unhealthy_at: datetime | None
) -> bool:
    """Whether a backend that is not well is started again at `at`.

    `restart_at`: when the back-off of its last restart is over, None if it had none;
    `unhealthy_at`: the first failed probe in a row of a process that runs, None for a dead one.
    """
    if restart_at is not None and at < restart_at:
        return False
    return unhealthy_at is None or unhealthy_at + timedelta(seconds=GRACE_SECONDS) <= at
