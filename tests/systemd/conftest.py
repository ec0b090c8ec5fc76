"""One virtual machine for all tests of this folder: booting and installing it takes a while."""

import pytest

from tests.systemd.machine import Machine


@pytest.fixture(scope="session")
def machine():
    """Return a booted machine that has this checkout in /srv; Oroboros is not installed yet."""
    machine = Machine()
    try:
        machine.boot()
        machine.copy_checkout()
        yield machine
    finally:
        machine.shut_down()
