"""A server of an application that died and was started again is an event of the slot's run."""

import pytest
from django.conf import settings

from host.services import redis_server
from host.services.redis_server import PRODUCTION, RedisServer
from runs.leasing import services
from runs.models import Event
from tests.factories import LeaseFactory


@pytest.mark.django_db
def test_a_server_that_was_started_again_is_an_event_of_its_run(monkeypatch):
    config = settings.OROBOROS
    servers = [RedisServer(config, name) for name in ("preview-1", PRODUCTION)]
    monkeypatch.setattr(redis_server, "start_dead_servers", lambda config: servers)
    lease = LeaseFactory(held=True, slot__number=1)
    services.restart_dead_servers(config)
    of_production, of_the_run = Event.objects.filter(kind="service_restarted")
    assert (of_the_run.run_id, of_the_run.slot_id) == (lease.run_id, "preview-1")
    assert of_the_run.text.endswith("and is empty now")
    assert (of_production.run_id, of_production.slot_id) == (None, "")
