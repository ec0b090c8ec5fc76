"""A checker of the recorded lease history, independent of the code that granted the leases."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from slots.models import Lease


@dataclass(frozen=True)
class Entry:
    """One lease as its row has it; `ended` is None while it is open."""

    lease: int
    slot: int | None
    priority: int
    asked: datetime
    granted: datetime | None
    ended: datetime | None
    fence: int | None


def read_history():
    """Return the leases of the database as entries, in the order of their requests."""
    return [
        Entry(
            lease.pk,
            lease.slot_id,
            lease.priority,
            lease.requested_at,
            lease.granted_at,
            lease.ended_at,
            lease.fence,
        )
        for lease in Lease.objects.order_by("requested_at", "id")
    ]


def find_faults(history):
    """Return overlaps, fences that do not grow, and grants out of order."""
    return [
        *find_overlaps(history),
        *find_fence_faults(history),
        *find_grants_out_of_order(history),
    ]


def group_by_slot(history):
    slots = {}
    for entry in history:
        if entry.slot is not None:
            slots.setdefault(entry.slot, []).append(entry)
    return slots


def find_overlaps(history):
    for slot, entries in group_by_slot(history).items():
        for earlier, later in pairwise(sorted(entries, key=lambda entry: entry.granted)):
            if earlier.ended is None or earlier.ended > later.granted:
                yield f"slot {slot}: lease {later.lease} began before {earlier.lease} was over"


def find_fence_faults(history):
    for slot, entries in group_by_slot(history).items():
        for earlier, later in pairwise(sorted(entries, key=lambda entry: entry.granted)):
            if earlier.fence >= later.fence:
                yield f"slot {slot}: fence {later.fence} after {earlier.fence}"


def find_grants_out_of_order(history):
    """Return leases that were granted while another one before them in the queue waited."""
    granted = [entry for entry in history if entry.granted is not None]
    for entry in granted:
        for other in history:
            waited = other.asked < entry.granted and (
                other.granted is None or other.granted > entry.granted
            )
            left = other.ended is not None and other.ended <= entry.granted
            if waited and not left and is_before(other, entry):
                yield f"lease {entry.lease} was granted before {other.lease}, which came first"


def is_before(one, other):
    return (-one.priority, one.asked, one.lease) < (-other.priority, other.asked, other.lease)
