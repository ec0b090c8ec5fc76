"""A checker that reads the recorded lease history, and knows nothing of the code that made it."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from slots.models import Lease


@dataclass(frozen=True)
class Entry:
    """One lease as its row tells it; `ended` is None while it is not over."""

    lease: int
    slot: int | None
    priority: int
    asked: datetime
    granted: datetime | None
    ended: datetime | None
    fence: int | None


def recorded():
    """Return the leases of the database as entries, in the order of asking."""
    return [
        Entry(
            lease.pk,
            lease.slot_id,
            lease.priority,
            lease.asked_at,
            lease.granted_at,
            lease.ended_at,
            lease.fence,
        )
        for lease in Lease.objects.order_by("asked_at", "id")
    ]


def faults(history):
    """Return what is wrong with the history: overlaps, fences that do not grow, waiters passed."""
    return [*overlaps(history), *fences(history), *passed(history)]


def by_slot(history):
    slots = {}
    for entry in history:
        if entry.slot is not None:
            slots.setdefault(entry.slot, []).append(entry)
    return slots


def overlaps(history):
    for slot, entries in by_slot(history).items():
        for earlier, later in pairwise(sorted(entries, key=lambda entry: entry.granted)):
            if earlier.ended is None or earlier.ended > later.granted:
                yield f"slot {slot}: lease {later.lease} began before {earlier.lease} was over"


def fences(history):
    for slot, entries in by_slot(history).items():
        for earlier, later in pairwise(sorted(entries, key=lambda entry: entry.granted)):
            if earlier.fence >= later.fence:
                yield f"slot {slot}: fence {later.fence} after {earlier.fence}"


def passed(history):
    """Whoever was granted while another waited that came before it in the line."""
    granted = [entry for entry in history if entry.granted is not None]
    for entry in granted:
        for other in history:
            waited = other.asked < entry.granted and (
                other.granted is None or other.granted > entry.granted
            )
            left = other.ended is not None and other.ended <= entry.granted
            if waited and not left and before(other, entry):
                yield f"lease {entry.lease} was granted before {other.lease}, which came first"


def before(one, other):
    return (-one.priority, one.asked, one.lease) < (-other.priority, other.asked, other.lease)
