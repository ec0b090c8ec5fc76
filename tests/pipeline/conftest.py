"""The world of the pipelines' tests, one a session."""

import pytest

from runs import pool, tasks
from runs.models import Run
from slots.models import Slot
from slots.rules import Room
from tests.pipeline.world import World


@pytest.fixture(scope="session")
def a_world():
    made = World()
    yield made
    made.close()


@pytest.fixture
def world(a_world, transactional_db, settings, monkeypatch):
    """The host, with empty tables and free slots."""
    settings.OROBOROS = a_world.config
    settings.HOST_NAME = "local"
    monkeypatch.setattr(pool, "room", lambda: Room(10**6, 10**6))
    for slot in a_world.config.slots:
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host="local")
    yield a_world
    a_world.tidy()
    a_world.take_down_production()


@pytest.fixture
def ready(world):
    """Make a run of a branch and carry it to `preview_ready`."""

    def make(branch, **fields):
        run = tasks.create_run(title=fields.pop("title", branch), branch=branch, actor="ada")
        tasks.carry(run.pk)
        run.refresh_from_db()
        assert run.status == "preview_ready", (run.status, run.failure_code, run.failure_detail)
        return run

    return make


@pytest.fixture
def shipped(ready):
    """Carry a branch all the way."""

    def make(branch):
        run = ready(branch)
        tasks.approve(run, actor="grace")
        tasks.carry(run.pk)
        return Run.objects.get(pk=run.pk)

    return make
