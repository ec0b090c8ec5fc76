"""What a waiting run is told: which slot it waits for, and until when at the latest."""

from datetime import UTC, datetime, timedelta

import pytest

from runs.leasing.queue_status import QueueStatus, SlotStatus, WaitForecast, describe_withdrawal
from slots.models import Lease, Slot
from slots.rules import LeaseState, SlotState

AT = datetime(2026, 11, 28, 20, 1, tzinfo=UTC)
END = datetime(2026, 11, 28, 23, 39, tzinfo=UTC)


def build_slot(number, *, expires_at=END, drained_at=None, **lease):
    slot = Slot(slot_id=f"preview-{number}", number=number, drained_at=drained_at)
    granted = Lease(
        slot=slot,
        state=lease.pop("state", LeaseState.HELD),
        granted_at=AT - timedelta(hours=2),
        expires_at=expires_at,
        **lease,
    )
    return SlotStatus(slot, SlotState.LEASED, granted)


def build_queue(*slots, refusal="", past=(60.0,)):
    return QueueStatus(AT, list(slots), 1, refusal, list(past))


def test_a_slot_held_longer_than_usual_is_not_expected_at_once():
    forecast = build_queue(build_slot(1)).forecast_wait(1)
    assert forecast.seconds == (END - AT).total_seconds()
    assert forecast.describe(AT.date()) == "when preview-1 is decided, at the latest 23:39 UTC"


def test_of_several_slots_the_one_that_expires_in_its_turn_is_named():
    queue = build_queue(build_slot(1), build_slot(2, expires_at=AT + timedelta(minutes=9)))
    texts = [queue.forecast_wait(position).describe(AT.date()) for position in (1, 2, 3)]
    assert texts == [
        "when one of 2 slots is decided, at the latest 20:10 UTC, when preview-2 expires",
        "when one of 2 slots is decided, at the latest 23:39 UTC, when preview-1 expires",
        "when one of 2 slots is free again",
    ]


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (build_queue(build_slot(1, is_pinned=True)), "when preview-1 is free again"),
        (build_queue(build_slot(1, drained_at=AT)), ""),
        (
            build_queue(build_slot(1), SlotStatus(Slot(slot_id="preview-2"), SlotState.FREE, None)),
            "",
        ),
        (build_queue(build_slot(1), refusal="No slot is granted: 1 MiB is free."), ""),
        (
            build_queue(build_slot(1, state=LeaseState.ENDING)),
            "when preview-1 is decided, at the latest 20:01 UTC",
        ),
    ],
)
def test_only_what_is_known_is_said(queue, text):
    assert queue.forecast_wait(1).describe(AT.date()) == text


def test_a_time_of_another_day_has_its_date():
    forecast = WaitForecast(None, "preview-1", END, ("preview-1",))
    tomorrow = AT.date() + timedelta(days=1)
    assert forecast.describe(tomorrow).endswith("at the latest 2026-11-28 23:39 UTC")


def test_a_drained_slot_that_is_still_held_is_draining_and_says_by_whom_and_why():
    status = build_slot(1, drained_at=AT)
    status.slot.drained_by, status.slot.drain_reason = "olga", "a new kernel"
    assert (status.is_draining, build_slot(2).is_draining) == (True, False)
    assert describe_withdrawal(status.slot) == "Drained by olga: a new kernel"
    assert describe_withdrawal(build_slot(2).slot) == ""
