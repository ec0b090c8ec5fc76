"""The checker of the lease history says what is wrong, and nothing of what is right."""

from datetime import datetime, timedelta

import pytest

from tests.slots import history
from tests.slots.history import Entry

AT = datetime(2026, 1, 1)


def entry(lease, asked, granted=None, ended=None, *, slot=1, fence=None, priority=0):
    def at(minutes):
        return None if minutes is None else AT + timedelta(minutes=minutes)

    place = slot if granted is not None else None
    return Entry(lease, place, priority, at(asked), at(granted), at(ended), fence or lease)


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
def test_the_checker_names_what_is_wrong(entries, fault):
    assert any(fault in sentence for sentence in history.faults(entries))


@pytest.mark.parametrize(
    "entries",
    [
        [entry(1, 0, 0, 5), entry(2, 1, 5)],
        [entry(1, 0, 0), entry(2, 1, 1, slot=2)],
        [entry(1, 0, None, 3), entry(2, 1, 4, 8)],  # it left the line
        [entry(1, 0, 9, fence=2), entry(2, 1, 4, 8, fence=1, priority=1)],
    ],
)
def test_the_checker_is_content_with_a_sound_history(entries):
    assert history.faults(entries) == []
