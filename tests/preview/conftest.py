"""Hosts for applications of other people, one for each test."""

import pytest

from runs import pool
from slots.models import Slot
from slots.rules import Room
from tests.preview.world import Host


@pytest.fixture
def host(transactional_db, settings, monkeypatch):
    """Make a host whose application is the one in the folder given."""
    made = []

    def make(application, kind=Host):
        host = kind(application)
        made.append(host)
        settings.OROBOROS = host.config
        settings.HOST_NAME = "local"
        for slot in host.config.slots:
            Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host="local")
        return host

    monkeypatch.setattr(pool, "room", lambda: Room(10**6, 10**6))
    yield make
    for host in made:
        host.tidy()
        host.close()
