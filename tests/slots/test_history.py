"""The checker of the lease history."""

from datetime import datetime, timedelta

import pytest

from tests.slots import history
from tests.slots.history import Entry

AT = datetime(2026, 1, 1)


def entry(lease, asked, granted=None, ended=None, *, slot=1, fence=None, priority=0):
    def at(minutes):
        return None if minutes is None else AT + timedelta(minutes=minutes)

    slot_id = slot if granted is not None else None
    return Entry(lease, slot_id, priority, at(asked), at(granted), at(ended), fence or lease)


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([entry(1, 0, 0, 5), entry(2, 1, 4)], "began before"),
        ([entry(1, 0, 0), entry(2, 1, 4)], "began before"),
        ([entry(1, 0, 0, 5, fence=2), entry(2, 1, 6, fence=2)], "fence 2 after 2"),
        ([entry(1, 0, 9), entry(2, 1, 4, 8)], "came first"),
        ([entry(1, 0), entry(2, 1, 4, 8)], "came first"),
    ],
)
def test_fault_is_found(entries, fault):
    assert any(fault in sentence for sentence in history.find_faults(entries))


@pytest.mark.parametrize(
    "entries",
    [
        [entry(1, 0, 0, 5), entry(2, 1, 5)],
        [entry(1, 0, 0), entry(2, 1, 1, slot=2)],
        [entry(1, 0, None, 3), entry(2, 1, 4, 8)],  # it left the queue
        [entry(1, 0, 9, fence=2), entry(2, 1, 4, 8, fence=1, priority=1)],
    ],
)
def test_correct_history_has_no_faults(entries):
    assert history.find_faults(entries) == []
