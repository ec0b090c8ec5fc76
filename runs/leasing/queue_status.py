"""The queue for slots as people see it: who holds which slot, who waits, and for how long.

Reads never lock, and take the same number of queries however many runs wait.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F

from core.clock import get_database_time
from core.prepared_statements import fetch
from runs.leasing.grants import explain_refusal
from runs.leasing.sql import READ_POSITION, READ_POSITIONS
from slots import rules
from slots.models import Lease, Slot
from slots.rules import STATES_WITH_SLOT, LeaseState, SlotState

# The number of ended leases from which the usual duration of one is computed.
PAST_LEASES = 50


@dataclass(frozen=True)
class SlotStatus:
    """A slot, its state, and the lease that it is on, with its run."""

    slot: Slot
    state: SlotState
    lease: Lease | None

    def held_seconds(self, at: datetime) -> float:
        """Return how long the slot has been held at `at`; 0 for a free one."""
        since = self.lease.granted_at if self.lease is not None else None
        return (at - since).total_seconds() if since is not None else 0.0


@dataclass(frozen=True)
class QueueStatus:
    """This host's slots and the queue at one moment; `refusal` says why no slot is granted."""

    at: datetime
    slots: list[SlotStatus]
    waiting: int
    refusal: str
    past_seconds: list[float]

    @property
    def unavailable_slots(self) -> list[SlotStatus]:
        """The slots that are held, being cleaned, drained or quarantined."""
        return [status for status in self.slots if status.state != SlotState.FREE]

    def estimate_wait(self, position: int) -> float | None:
        """Return in how many seconds the waiter at `position` may get a slot; None: not known."""
        # A drained or quarantined slot is granted to no waiter when its lease ends.
        held = [
            status.held_seconds(self.at)
            for status in self.slots
            if status.slot.drained_at is None and status.slot.quarantined_at is None
        ]
        return rules.estimate_wait(position, held, self.past_seconds)


def list_slots() -> list[SlotStatus]:
    """Return this host's configured slots with the lease on each and its run: two queries.

    The row of a slot that is not configured any more is left out.
    """
    config = settings.OROBOROS
    ids = [slot.slot_id for slot in config.slots]
    on_slots = (
        Lease.objects.on_host(config.host_name)
        .filter(state__in=STATES_WITH_SLOT)
        .select_related("run")
    )
    leases = {lease.slot_id: lease for lease in on_slots}
    slots = Slot.objects.on_host(config.host_name).filter(slot_id__in=ids)
    return [_build_status(slot, leases.get(slot.pk)) for slot in slots]


def _build_status(slot: Slot, lease: Lease | None) -> SlotStatus:
    state = rules.derive_slot_state(
        lease.state if lease else None,
        is_quarantined=slot.quarantined_at is not None,
        is_drained=slot.drained_at is not None,
    )
    return SlotStatus(slot, state, lease)


def read_queue_status() -> QueueStatus:
    """Return the slots and the queue as they are now: five queries."""
    past = (
        Lease.objects.filter(state=LeaseState.ENDED, granted_at__isnull=False)
        .annotate(held_for=F("ended_at") - F("granted_at"))
        .order_by("-id")
        .values_list("held_for", flat=True)[:PAST_LEASES]
    )
    return QueueStatus(
        at=get_database_time(),
        slots=list_slots(),
        waiting=Lease.objects.filter(state=LeaseState.WAITING).count(),
        refusal=explain_refusal(),
        past_seconds=[duration / timedelta(seconds=1) for duration in past],
    )


def get_positions(run_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return the positions in the queue (1 is next) of those of the runs that wait: one query."""
    if not run_ids:
        return {}
    statement = READ_POSITION if len(run_ids) == 1 else READ_POSITIONS
    [rows] = fetch(statement, runs=list(run_ids))
    return dict(rows)
