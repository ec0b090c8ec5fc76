"""What must be true each time a slot was cleaned: nothing of its user is left on the host."""

import pytest

from runs.leasing import cleanup as leasing_cleanup
from slots.runtime import cleanup
from tests.slot_leftovers import assert_nothing_is_left


@pytest.fixture(autouse=True)
def nothing_is_left_at_the_end_of_a_lease(monkeypatch):
    """Check it after each successful cleaning of the test."""
    clean = cleanup.clean_slot

    def clean_and_check(config, slot):
        failures = clean(config, slot)
        if not failures:
            assert_nothing_is_left(config, slot)
        return failures

    monkeypatch.setattr(cleanup, "clean_slot", clean_and_check)
    monkeypatch.setattr(leasing_cleanup, "clean_slot", clean_and_check)
