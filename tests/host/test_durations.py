"""Durations as people read them."""

import pytest

from host.durations import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 00 min"),
        (11100, "3 h 05 min"),
    ],
)
def test_a_duration_is_written_in_its_largest_units(seconds, text):
    assert format_duration(seconds) == text
