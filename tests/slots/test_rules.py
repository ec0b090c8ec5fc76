"""What slots are and when they are granted, as values."""

from datetime import UTC, datetime, timedelta

import pytest

from slots.rules import (
    BACKOFF_SECONDS,
    GRACE_SECONDS,
    LeaseState,
    Room,
    SlotState,
    admission,
    backoff,
    is_restart_due,
    slot_state,
)
from slots.rules import estimate as estimated

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("lease", "quarantined", "drained", "state"),
    [
        (None, False, False, SlotState.FREE),
        (LeaseState.HELD, False, False, SlotState.LEASED),
        (LeaseState.HELD, False, True, SlotState.LEASED),
        (LeaseState.ENDING, False, True, SlotState.CLEANING),
        (None, False, True, SlotState.DRAINED),
        (None, True, True, SlotState.QUARANTINED),
    ],
)
def test_a_slot_is_what_its_lease_and_its_operators_say(lease, quarantined, drained, state):
    assert slot_state(lease, is_quarantined=quarantined, is_drained=drained) == state


def test_a_host_with_room_admits():
    assert admission(Room(256, 1024), Room(256, 1024)) == ""


def test_a_host_without_room_says_what_it_lacks():
    said = admission(Room(100, 1000), Room(256, 1024))
    assert said == (
        "No slot is granted: 100 MiB of memory are free and 256 MiB must stay free; "
        "1000 MiB of disk are free and 1024 MiB must stay free."
    )


@pytest.mark.parametrize(
    ("position", "held", "seconds"),
    [
        (1, [30.0, 90.0], 10.0),  # the one that is held longest ends first
        (2, [30.0, 90.0], 70.0),
        (3, [30.0, 90.0], 110.0),
        (1, [500.0], 0.0),
        (4, [0.0], 400.0),
    ],
)
def test_an_estimate_is_made_of_how_long_leases_usually_last(position, held, seconds):
    assert estimated(position, held, [90.0, 100.0, 4000.0]) == seconds


@pytest.mark.parametrize(("held", "past"), [([], [1.0]), ([1.0], [])])
def test_where_nothing_is_known_nothing_is_said(held, past):
    assert estimated(1, held, past) is None


def test_restarts_come_slower_and_slower_and_then_no_more():
    delays = [backoff(number) for number in range(len(BACKOFF_SECONDS) + 2)]
    assert delays == [*BACKOFF_SECONDS, None, None]
    assert sorted(BACKOFF_SECONDS) == list(BACKOFF_SECONDS)


@pytest.mark.parametrize(
    ("restart_at", "unhealthy_at", "due"),
    [
        (None, None, True),  # dead, and never before
        (AT - SECOND, None, True),
        (AT, None, True),
        (AT + SECOND, None, False),  # dead again within its back-off
        (None, AT, False),  # its first failed probe
        (None, AT - (GRACE_SECONDS - 1) * SECOND, False),
        (None, AT - GRACE_SECONDS * SECOND, True),
        (AT - SECOND, AT, False),  # a past does not shorten the grace
        (AT - SECOND, AT - GRACE_SECONDS * SECOND, True),
        (AT + SECOND, AT - GRACE_SECONDS * SECOND, False),
    ],
)
def test_a_dead_backend_is_due_after_its_back_off_a_silent_one_after_its_grace(
    restart_at, unhealthy_at, due
):
    assert is_restart_due(AT, restart_at=restart_at, unhealthy_at=unhealthy_at) is due
