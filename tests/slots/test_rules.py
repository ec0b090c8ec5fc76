"""Decisions about leases and slots."""

from datetime import UTC, datetime, timedelta

import pytest

from slots.rules import (
    RESTART_DELAYS_SECONDS,
    SILENCE_SECONDS,
    UNHEALTHY_GRACE_SECONDS,
    Capacity,
    LeaseState,
    SlotState,
    SlotUse,
    derive_slot_state,
    estimate_wait,
    explain_shortage,
    find_latest_use,
    find_restart_delay,
    is_restart_due,
    is_silence_due,
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
        (1, [(30.0, None), (90.0, None)], 10.0),  # the one that is held longest ends first
        (2, [(30.0, None), (90.0, None)], 70.0),
        (3, [(30.0, None), (90.0, None)], 110.0),
        (1, [(30.0, 5.0), (90.0, 200.0)], 5.0),  # it expires sooner
        (4, [(0.0, 0.0)], 300.0),  # a free slot
        # Held longer than usual: compared with those that lasted even longer, until it expires.
        (1, [(500.0, None)], 3500.0),
        (1, [(500.0, 7200.0)], 3500.0),
        (1, [(500.0, 60.0)], 60.0),
        (1, [(5000.0, 7200.0)], 7200.0),
        (1, [(5000.0, None)], None),
        (2, [(5000.0, 7200.0), (5000.0, None)], None),
    ],
)
def test_estimate_uses_earlier_leases_and_when_the_present_ones_expire(position, held, seconds):
    uses = [SlotUse("preview-1", *one) for one in held]
    assert estimate_wait(position, uses, [90.0, 100.0, 4000.0]) == seconds


@pytest.mark.parametrize(("uses", "past"), [([], [1.0]), ([SlotUse("preview-1", 1.0, None)], [])])
def test_estimate_is_none_without_earlier_leases_or_slots(uses, past):
    assert estimate_wait(1, uses, past) is None


@pytest.mark.parametrize(("position", "slot_id"), [(1, "preview-3"), (2, "preview-1"), (3, None)])
def test_the_slot_of_a_position_at_the_latest_is_that_which_expires_in_its_turn(position, slot_id):
    uses = [
        SlotUse("preview-1", 1.0, 90.0),
        SlotUse("preview-2", 1.0, None),
        SlotUse("preview-3", 1.0, 10.0),
    ]
    found = find_latest_use(position, uses)
    assert (found.slot_id if found else None) == slot_id


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


@pytest.mark.parametrize(
    ("restart_at", "unhealthy_at", "due"),
    [
        (None, None, False),  # it has exited, which is told as such
        (None, AT, False),  # the first failed probe, which began at AT
        (None, AT - (SILENCE_SECONDS - 1) * SECOND, False),
        (None, AT - SILENCE_SECONDS * SECOND, True),
        (AT, AT - SILENCE_SECONDS * SECOND, True),
        (AT + SECOND, AT - SILENCE_SECONDS * SECOND, False),  # it is being started again
    ],
)
def test_silence_is_told_at_a_second_failed_probe_after_its_time(restart_at, unhealthy_at, due):
    given = {"began": AT, "restart_at": restart_at, "unhealthy_at": unhealthy_at}
    assert is_silence_due(AT, **given) is due


def test_one_slow_probe_is_no_silence():
    began = AT - 2 * SILENCE_SECONDS * SECOND
    assert not is_silence_due(AT, began=began, restart_at=None, unhealthy_at=began)
