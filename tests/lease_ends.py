"""What must be true each time a slot was cleaned: nothing of its user is left on the host."""

import os

import pytest

from host.files import leftovers
from host.units import managers
from runs.leasing import cleanup as leasing_cleanup
from slots.runtime import backend, cleanup


def assert_nothing_is_left(config, slot):
    """Check that the slot's user has no process but the idle page, no file and no IPC object."""
    user = config.slot_user(slot)
    if user is None or os.geteuid() != 0:
        return
    idle = managers.get_manager(config).status(backend.unit_name(slot), slot.backend_port)
    assert user.pids() <= {idle.pid}
    assert leftovers.find_leftovers(user.uid) == []


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
