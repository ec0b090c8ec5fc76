"""Decisions about leases and slots: values in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf, isfinite
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


@dataclass(frozen=True)
class SlotUse:
    """For how long a usable slot is held, and in how many seconds it is granted at the latest.

    `latest` is when its lease expires: 0 for a slot that is free or being cleaned, None for a lease
    that does not expire, because its run ships.
    """

    slot_id: str
    held_seconds: float
    latest: float | None

    def estimate_remaining(self, past: Sequence[float]) -> float | None:
        """Return in how many seconds it may be granted; None if that is not known.

        `past`: how long earlier leases lasted. One that has lasted longer than usual is compared
        with those that lasted even longer, and none lasts longer than until it expires.
        """
        # The median: one preview that was kept for days does not change the estimate of the others.
        guess = median(past) - self.held_seconds
        if guess <= 0:
            longer = [seconds for seconds in past if seconds > self.held_seconds]
            if not longer:
                return self.latest
            guess = median(longer) - self.held_seconds
        return guess if self.latest is None else min(guess, self.latest)


def estimate_wait(position: int, uses: Sequence[SlotUse], past: Sequence[float]) -> float | None:
    """Return in how many seconds the run at `position` (1 is next) may get a slot.

    `uses`: of the usable slots; `past`: how long earlier leases lasted, in seconds. None if it is
    not known, as without earlier leases or usable slots.
    """
    if not past or not uses:
        return None
    known = [use.estimate_remaining(past) for use in uses]
    remaining = sorted(inf if seconds is None else seconds for seconds in known)
    # The slots end in this order; each further round of waiting runs takes a whole usual lease.
    rounds, index = divmod(position - 1, len(remaining))
    estimate = remaining[index] + rounds * median(past)
    return estimate if isfinite(estimate) else None


def find_latest_use(position: int, uses: Sequence[SlotUse]) -> SlotUse | None:
    """Return the slot that the run at `position` gets at the latest, unless its lease is extended.

    The slots expire in this order. None if fewer slots than that expire.
    """
    expiring = [use for use in uses if use.latest is not None]
    expiring.sort(key=lambda use: use.latest or 0.0)
    return expiring[position - 1] if position <= len(expiring) else None


# The delays before the restarts of a backend that died; after the last one its run fails.
RESTART_DELAYS_SECONDS = (0.0, 2.0, 4.0, 8.0, 16.0)


def find_restart_delay(restarts: int) -> float | None:
    """Return the delay in seconds after that many consecutive restarts; None: no restart."""
    return RESTART_DELAYS_SECONDS[restarts] if restarts < len(RESTART_DELAYS_SECONDS) else None


# A process that runs and does not answer is restarted after this time: it may only be slow.
UNHEALTHY_GRACE_SECONDS = 15.0


# Not answering for so long is told, whether or not it is restarted later.
SILENCE_SECONDS = 5.0


def is_silence_due(
    at: datetime, *, began: datetime, restart_at: datetime | None, unhealthy_at: datetime | None
) -> bool:
    """Return whether it is told at `at` that a backend which runs does not answer.

    Only at the second probe in a row that fails, which `began` then: one slow request is no
    silence. `restart_at` and `unhealthy_at` as in `is_restart_due`.
    """
    if unhealthy_at is None or unhealthy_at >= began:
        return False
    if restart_at is not None and at < restart_at:  # it is being started again
        return False
    return unhealthy_at + timedelta(seconds=SILENCE_SECONDS) <= at


def is_restart_due(
    at: datetime, *, restart_at: datetime | None, unhealthy_at: datetime | None
) -> bool:
    """Return whether an unhealthy backend is restarted at `at`.

    `restart_at`: when the delay after its last restart ends, None if it had none; `unhealthy_at`:
    when the first of its consecutive failed probes began, None if its process has exited.
    """
    if restart_at is not None and at < restart_at:
        return False
    return unhealthy_at is None or unhealthy_at + timedelta(seconds=UNHEALTHY_GRACE_SECONDS) <= at
