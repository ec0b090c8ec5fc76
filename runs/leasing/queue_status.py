"""The lines as people read them: who waits where, who holds what since when and why, how long.

Reads never lock, and cost the same number of queries however many wait.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.utils import timezone

from core.clock import database_time
from runs import merge_queue
from runs.leasing.grants import refusal
from runs.models import Freeze, Run
from runs.rules import AT_WORK
from slots import rules
from slots.models import Lease, Slot
from slots.rules import ON_SLOT, LeaseState, SlotState

# So many earlier leases say how long one usually lasts.
REMEMBERED = 50
PLACES = """
SELECT mine.run_id, (
    SELECT count(*) FROM slots_lease AS line
    WHERE line.state = 'waiting'
      AND (-line.priority, line.asked_at, line.id) <= (-mine.priority, mine.asked_at, mine.id))
FROM slots_lease AS mine WHERE mine.state = 'waiting' AND mine.run_id = ANY(%s)
"""
PLACES_OF_MANY = """
SELECT run_id, place FROM (
    SELECT run_id, row_number() OVER (ORDER BY priority DESC, asked_at, id) AS place
    FROM slots_lease WHERE state = 'waiting') AS line
WHERE run_id = ANY(%s)
"""


@dataclass(frozen=True)
class SlotView:
    """A slot and who has it."""

    slot: Slot
    state: SlotState
    lease: Lease | None

    def held_seconds(self, at: datetime) -> float:
        """Return how long the slot has been held at `at`; 0 for a free one."""
        since = self.lease.granted_at if self.lease is not None else None
        return (at - since).total_seconds() if since is not None else 0.0


@dataclass(frozen=True)
class Line:
    """The pool at one moment; `refusal` says why nothing is granted now, if so."""

    at: datetime
    slots: list[SlotView]
    waiting: int
    refusal: str
    past_seconds: list[float]

    @property
    def holding(self) -> list[SlotView]:
        """The slots that nobody is given now: who has them, or why they are out of use."""
        return [view for view in self.slots if view.state != SlotState.FREE]

    def estimate(self, position: int) -> float | None:
        """Return in how many seconds the waiter at `position` may get a slot; None: not known."""
        held = [
            view.held_seconds(self.at)
            for view in self.slots
            if view.slot.drained_at is None and view.slot.quarantined_at is None
        ]
        return rules.estimate(position, held, self.past_seconds)


def slots() -> list[SlotView]:
    """Return every slot with the lease on it and that lease's run: two queries.

    A row that is configured no longer is no slot.
    """
    configured = Slot.objects.filter(slot_id__in=[one.slot_id for one in settings.OROBOROS.slots])
    on_slot = Lease.objects.filter(state__in=ON_SLOT).select_related("run")
    leases = {lease.slot_id: lease for lease in on_slot}
    return [_view(slot, leases.get(slot.pk)) for slot in configured]


def _view(slot: Slot, lease: Lease | None) -> SlotView:
    state = rules.slot_state(
        lease.state if lease else None,
        is_quarantined=slot.quarantined_at is not None,
        is_drained=slot.drained_at is not None,
    )
    return SlotView(slot, state, lease)


def line() -> Line:
    """Return the pool as it is now: five queries."""
    past = (
        Lease.objects.filter(state=LeaseState.ENDED, granted_at__isnull=False)
        .annotate(held_for=F("ended_at") - F("granted_at"))
        .order_by("-id")
        .values_list("held_for", flat=True)[:REMEMBERED]
    )
    return Line(
        at=database_time(),
        slots=slots(),
        waiting=Lease.objects.filter(state=LeaseState.WAITING).count(),
        refusal=refusal(),
        past_seconds=[duration / timedelta(seconds=1) for duration in past],
    )


def positions(run_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return the place in the line, 1 is next, of those of the runs that wait: one query."""
    if not run_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(PLACES if len(run_ids) == 1 else PLACES_OF_MANY, [list(run_ids)])
        return dict(cursor.fetchall())


# -- the line to ship -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """Where a run stands in the line to ship, 1 is next: whom it comes after, what holds it."""

    run: Run
    place: int
    after: Run | None
    freezes: list[Freeze]

    @property
    def is_held(self) -> bool:
        return bool(self.freezes)

    @property
    def reason(self) -> str:
        """Why the run does not ship yet, a sentence a line."""
        if self.after is not None:
            place = f"Approved; number {self.place} in the line to ship, after {self.after}."
        else:
            place = "Approved; next to ship."
        return "\n".join([place, *map(frozen_by, self.freezes)])


def frozen_by(freeze: Freeze) -> str:
    """Return a freeze as a sentence: by whom, since and until when, why."""
    until = f" until {_minute(freeze.until)}" if freeze.until else ""
    since = _minute(freeze.since)
    return f"Shipping is frozen by {freeze.actor} since {since}{until}: {freeze.reason}"


def _minute(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"


def to_ship() -> dict[uuid.UUID, Turn]:
    """Return the turn of each run that ships or waits for it.

    Whom a freeze holds is passed by whom it does not hold.
    """
    found: dict[uuid.UUID, Turn] = {}
    order = merge_queue.in_order()
    freezes = merge_queue.standing_freezes() if order else []
    for place, run in enumerate(order):
        at_work = run.status in AT_WORK
        held = [] if at_work else [one for one in freezes if not merge_queue.passes(run, one)]
        ahead = [one for one in order[:place] if held or not found[one.pk].is_held]
        found[run.pk] = Turn(run, len(ahead) + 1, ahead[-1] if ahead else None, held)
    return found
