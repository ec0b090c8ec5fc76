"""Hosts for applications of other people, one for each test."""

import pytest

from runs.leasing import grants
from slots.models import Slot
from slots.rules import Capacity
from tests.runs.pipelines.preview.world import Host

WEB = "web: python -m http.server --bind 127.0.0.1 $PORT\n"
TOML = '[backend]\nhealth_path = "/"\n'


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

    monkeypatch.setattr(grants, "read_free_capacity", lambda: Capacity(10**6, 10**6))
    yield make
    for host in made:
        host.tidy()
        host.close()


@pytest.fixture
def place(host, tmp_path):
    """Make a host whose application only serves its own files."""
    application = tmp_path / "application"
    application.mkdir()
    (application / "Procfile").write_text(WEB)
    (application / "oroboros.toml").write_text(TOML)
    return host(application)
