"""One virtual machine for all tests of this folder: booting and installing it takes a while."""

from pathlib import Path

import pytest

from tests.systemd.machine import Machine

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Put the runbook's tests first: they begin on a machine on which nothing is installed."""
    ours = [item for item in items if item.path.parent == FOLDER]
    ordered = iter(sorted(ours, key=lambda item: item.path.name != "test_runbook.py"))
    items[:] = [next(ordered) if item.path.parent == FOLDER else item for item in items]


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
