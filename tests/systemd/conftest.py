"""One machine for all tests of this folder: a boot and an installation take a while."""

import pytest

from tests.systemd.machine import Machine


@pytest.fixture(scope="session")
def machine():
    """Return a booted machine with this checkout in /srv, and nothing of it installed."""
    machine = Machine()
    try:
        machine.up()
        machine.copy_checkout()
        yield machine
    finally:
        machine.down()
