"""Decisions about leases and slots."""

from datetime import UTC, datetime, timedelta

import pytest

from slots.rules import (
    RESTART_DELAYS_SECONDS,
    UNHEALTHY_GRACE_SECONDS,
    Capacity,
    LeaseState,
    SlotState,
    derive_slot_state,
    estimate_wait,
    explain_shortage,
    find_restart_delay,
    is_restart_due,
)

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
def test_slot_state_follows_from_its_lease_and_its_operators(lease, quarantined, drained, state):
    assert derive_slot_state(lease, is_quarantined=quarantined, is_drained=drained) == state


def test_enough_memory_and_disk_are_no_shortage():
    assert explain_shortage(Capacity(256, 1024), Capacity(256, 1024)) == ""


def test_shortage_names_each_resource_with_its_floor():
    sentence = explain_shortage(Capacity(100, 1000), Capacity(256, 1024))
    assert sentence == (
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
def test_estimate_uses_the_median_length_of_earlier_leases(position, held, seconds):
    assert estimate_wait(position, held, [90.0, 100.0, 4000.0]) == seconds


@pytest.mark.parametrize(("held", "past"), [([], [1.0]), ([1.0], [])])
def test_estimate_is_none_without_earlier_leases_or_slots(held, past):
    assert estimate_wait(1, held, past) is None


def test_restart_delays_grow_and_then_end():
    delays = [find_restart_delay(number) for number in range(len(RESTART_DELAYS_SECONDS) + 2)]
    assert delays == [*RESTART_DELAYS_SECONDS, None, None]
    assert sorted(RESTART_DELAYS_SECONDS) == list(RESTART_DELAYS_SECONDS)


@pytest.mark.parametrize(
    ("restart_at", "unhealthy_at", "due"),
    [
        (None, None, True),  # exited for the first time
        (AT - SECOND, None, True),
        (AT, None, True),
        (AT + SECOND, None, False),  # exited again within its delay
        (None, AT, False),  # its first failed probe
        (None, AT - (UNHEALTHY_GRACE_SECONDS - 1) * SECOND, False),
        (None, AT - UNHEALTHY_GRACE_SECONDS * SECOND, True),
        (AT - SECOND, AT, False),  # an earlier restart does not shorten the grace
        (AT - SECOND, AT - UNHEALTHY_GRACE_SECONDS * SECOND, True),
        (AT + SECOND, AT - UNHEALTHY_GRACE_SECONDS * SECOND, False),
    ],
)
def test_restart_is_due_after_the_delay_of_a_dead_backend_or_the_grace_of_an_unhealthy_one(
    restart_at, unhealthy_at, due
):
    assert is_restart_due(AT, restart_at=restart_at, unhealthy_at=unhealthy_at) is due
