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


@pytest.fixture(scope="module")
def host(machine):
    """Return the machine with the whole stack running and a live release."""
    if machine.run_unchecked("test -e /etc/oroboros/api.env").returncode != 0:
        machine.install()
    machine.run("./scripts/runtime-up.sh")
    if machine.run_unchecked("test -e var/current").returncode != 0:
        machine.run_json("./scripts/deploy.sh main --reason first")
    return machine
