"""Decisions about leases and slots: values in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.db.models import TextChoices


class LeaseState(TextChoices):
    """The states of a lease, in the only order in which it passes through them."""

    WAITING = "waiting"
    HELD = "held"
    ENDING = "ending"
    ENDED = "ended"


# A tuple: a set has no order, so every makemigrations would find the constraint changed.
STATES_WITH_SLOT = (LeaseState.HELD, LeaseState.ENDING)
OPEN_STATES = (LeaseState.WAITING, LeaseState.HELD, LeaseState.ENDING)
LEASE_MOVES: dict[str, set[LeaseState]] = {
    LeaseState.WAITING: {LeaseState.HELD, LeaseState.ENDED},
    LeaseState.HELD: {LeaseState.ENDING, LeaseState.ENDED},
    LeaseState.ENDING: {LeaseState.ENDED},
}


class SlotState(TextChoices):
    """The state of a slot, as the API and the pages show it."""

    FREE = "free"
    LEASED = "leased"
    CLEANING = "cleaning"
    QUARANTINED = "quarantined"
    DRAINED = "drained"


def derive_slot_state(
    lease_state: str | None, *, is_quarantined: bool, is_drained: bool
) -> SlotState:
    """Return the slot's state. A drained slot is `leased` until its lease ends."""
    if is_quarantined:
        return SlotState.QUARANTINED
    if lease_state == LeaseState.ENDING:
        return SlotState.CLEANING
    if lease_state == LeaseState.HELD:
        return SlotState.LEASED
    return SlotState.DRAINED if is_drained else SlotState.FREE


@dataclass(frozen=True)
class Capacity:
    """Free memory and disk of a host, or the floor below which no slot is granted; in MiB."""

    memory_mb: int
    disk_mb: int


def explain_shortage(free: Capacity, floor: Capacity) -> str:
    """Return a sentence that says why no slot is granted now; "" if one may be granted."""
    shortages = [
        f"{available} MiB of {resource} are free and {minimum} MiB must stay free"
        for resource, available, minimum in (
            ("memory", free.memory_mb, floor.memory_mb),
            ("disk", free.disk_mb, floor.disk_mb),
        )
        if available < minimum
    ]
    return f"No slot is granted: {'; '.join(shortages)}." if shortages else ""


def estimate_wait(
    position: int, held_seconds: Sequence[float], past: Sequence[float]
) -> float | None:
    """Return in how many seconds the run at `position` (1 is next) may get a slot.

    `held_seconds`: how long each usable slot has been held (0 for a free one); `past`: how long
    earlier leases lasted, in seconds. None if there are no earlier leases or no usable slots.
    """
    if not past or not held_seconds:
        return None
    # The median: one preview that was kept for days does not change the estimate of the others.
    usual = median(past)
    remaining = sorted(max(0.0, usual - age) for age in held_seconds)
    # The slots end in this order; each further round of waiting runs takes a whole usual lease.
    rounds, index = divmod(position - 1, len(remaining))
    return remaining[index] + rounds * usual


# The delays before the restarts of a backend that died; after the last one its run fails.
RESTART_DELAYS_SECONDS = (0.0, 2.0, 4.0, 8.0, 16.0)


def find_restart_delay(restarts: int) -> float | None:
    """Return the delay in seconds after that many consecutive restarts; None: no restart."""
    return RESTART_DELAYS_SECONDS[restarts] if restarts < len(RESTART_DELAYS_SECONDS) else None


# A process that runs and does not answer is restarted after this time: it may only be slow.
UNHEALTHY_GRACE_SECONDS = 15.0


def is_restart_due(
    at: datetime, *, restart_at: datetime | None, unhealthy_at: datetime | None
) -> bool:
    """Return whether an unhealthy backend is restarted at `at`.

    `restart_at`: when the delay after its last restart ends, None if it had none;
    `unhealthy_at`: the first of its consecutive failed probes, None if its process has exited.
    """
    if restart_at is not None and at < restart_at:
        return False
    return unhealthy_at is None or unhealthy_at + timedelta(seconds=UNHEALTHY_GRACE_SECONDS) <= at
