"""What must be true of a slot that is free, as root: nothing of its user is left on the host."""

import os

from host.files import leftovers
from host.units import managers
from slots.runtime import backend


def assert_nothing_is_left(config, slot):
    """Check that the slot's user has no process but the idle page, no file and no IPC object."""
    user = config.slot_user(slot)
    if user is None or os.geteuid() != 0:
        return
    idle = managers.get_manager(config).status(backend.unit_name(slot), slot.backend_port)
    assert user.pids() <= {idle.pid}
    assert leftovers.find_leftovers(user.uid) == []
