"""The queue for slots as people see it: who holds which slot, who waits, and for how long.

Reads never lock, and take the same number of queries however many runs wait.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from core.clock import format_minute, get_database_time
from core.prepared_statements import fetch
from runs.leasing.grants import explain_refusal
from runs.leasing.sql import READ_POSITION, READ_POSITIONS
from slots import rules
from slots.models import Lease, Slot
from slots.rules import STATES_WITH_SLOT, LeaseState, SlotState, SlotUse

# The number of ended leases from which the usual duration of one is computed.
PAST_LEASES = 50


@dataclass(frozen=True)
class SlotStatus:
    """A slot, its state, and the lease that it is on, with its run."""

    slot: Slot
    state: SlotState
    lease: Lease | None

    @property
    def is_draining(self) -> bool:
        """Whether the slot is drained, and still held or being cleaned."""
        return self.slot.drained_at is not None and self.lease is not None

    def describe_use(self, at: datetime) -> SlotUse:
        """Return how the slot is held at `at`."""
        lease, name = self.lease, self.slot.slot_id
        if lease is None or lease.granted_at is None or lease.expires_at is None:
            return SlotUse(name, 0.0, 0.0)
        held = (at - lease.granted_at).total_seconds()
        if lease.is_pinned:
            return SlotUse(name, held, None)
        left = (lease.expires_at - at).total_seconds()
        return SlotUse(name, held, max(0.0, left) if lease.state == LeaseState.HELD else 0.0)


@dataclass(frozen=True)
class WaitForecast:
    """When a waiting run may get a slot. All is None or "" that is not known.

    `seconds`: the estimate. `slot_id`: the slot that it gets at the latest, `latest_at`, when that
    slot's lease expires. `usable`: the names of the slots that it may get.
    """

    seconds: float | None
    slot_id: str
    latest_at: datetime | None
    usable: tuple[str, ...]

    def describe(self, today: date) -> str:
        """Return what the run waits for as a clause, "when preview-1 is decided, at the latest …".

        "" without a usable slot. `today`: a time of another day has its date.
        """
        if not self.usable:
            return ""
        is_only = len(self.usable) == 1
        name = self.usable[0] if is_only else f"one of {len(self.usable)} slots"
        if self.latest_at is None:
            return f"when {name} is free again"
        local = timezone.localtime(self.latest_at)
        time = f"{local:%H:%M %Z}" if local.date() == today else format_minute(self.latest_at)
        when = "" if is_only else f", when {self.slot_id} expires"
        return f"when {name} is decided, at the latest {time}{when}"


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
        return self.forecast_wait(position).seconds

    def forecast_wait(self, position: int) -> WaitForecast:
        """Return when the waiter at `position` (1 is next) may get a slot.

        Nothing is known while no slot is granted for lack of memory or disk.
        """
        if self.refusal:
            return WaitForecast(None, "", None, ())
        # A drained or quarantined slot is granted to no waiter when its lease ends.
        uses = [
            status.describe_use(self.at)
            for status in self.slots
            if status.slot.drained_at is None and status.slot.quarantined_at is None
        ]
        seconds = rules.estimate_wait(position, uses, self.past_seconds)
        latest = rules.find_latest_use(position, uses)
        # A free slot is granted in a moment: no lease is waited for.
        is_free = position <= sum(use.held_seconds == 0 for use in uses)
        names = () if is_free else tuple(use.slot_id for use in uses)
        if latest is None or latest.latest is None or is_free:
            return WaitForecast(seconds, "", None, names)
        latest_at = self.at + timedelta(seconds=latest.latest)
        return WaitForecast(seconds, latest.slot_id, latest_at, names)


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
    return [build_status(slot, leases.get(slot.pk)) for slot in slots]


def build_status(slot: Slot, lease: Lease | None) -> SlotStatus:
    """Return the status of a slot with the lease on it, None without one."""
    state = rules.derive_slot_state(
        lease.state if lease else None,
        is_quarantined=slot.quarantined_at is not None,
        is_drained=slot.drained_at is not None,
    )
    return SlotStatus(slot, state, lease)


def describe_withdrawal(slot: Slot) -> str:
    """Return why, and by whom, the slot is not granted to a waiting run; "" if it is granted."""
    if slot.quarantined_at is not None:
        return slot.quarantine_reason
    if slot.drained_at is None:
        return ""
    return f"Drained by {slot.drained_by}: {slot.drain_reason}"


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
