"""Surfaces and the router that died are started again where systemd does not."""

import os
import signal

import pytest

from host.units.local_manager import LocalManager
from slots.runtime import surface, web_units
from slots.runtime.web_units import ROUTER
from tests.slots.runtime.surface_server import request


@pytest.fixture
def manager(config, slot):
    """The router and two surfaces run; returns their manager."""
    surface.show_free(config, slot)
    manager = LocalManager(config)
    names = (ROUTER, "ouroboros-web@main", "ouroboros-web@preview1")
    for unit in web_units.build_web_units(config):
        if unit.name in names:
            manager.start(unit)
    yield manager
    for name in manager.list_names():
        manager.stop(name, grace=5)


def kill(manager, name):
    os.kill(manager.status(name).pid, signal.SIGKILL)
    while manager.status(name).is_active:
        pass


def test_a_killed_surface_and_a_killed_router_are_started_again(config, slot, manager):
    assert web_units.start_dead_units(config) == []
    for name in ("ouroboros-web@preview1", ROUTER):
        kill(manager, name)
    assert set(web_units.start_dead_units(config)) == {"ouroboros-web@preview1", ROUTER}
    assert b"preview-1 is free" in request(slot.web_port, "/").body
    assert request(config.router_port, "/", Host="unknown.example").status == 404
    assert web_units.start_dead_units(config) == []


def test_a_surface_that_was_stopped_stays_stopped(config, manager):
    assert manager.stop("ouroboros-web@main")
    assert web_units.start_dead_units(config) == []
    assert not manager.status("ouroboros-web@main").is_active
