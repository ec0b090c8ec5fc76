"""The world of the pipelines' tests, one a session."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from releases.production import draining
from runs.leasing import grants
from runs.lifecycle import execution, operations
from runs.models import Run
from runs.pipelines import preview, shipping
from slots.models import Slot
from slots.rules import Capacity
from tests.runs.pipelines.shipping import tiny
from tests.runs.pipelines.shipping.harness import PREVIEW, Harness
from tests.runs.pipelines.shipping.world import World


@pytest.fixture(scope="session")
def a_world():
    made = World()
    yield made
    made.close()


@pytest.fixture(scope="session")
def a_tiny_world():
    made = World(
        tiny.files,
        OROBOROS_PRODUCTION_DATABASE="app_production_tiny",
        DEPLOY_HEALTH_SECONDS="0",
        DEPLOY_BACKEND_HEALTHCHECK_CMD="sh {folder}/health.sh",
    )
    (made.folder / "health.sh").write_text(tiny.HEALTH.format(folder=made.folder))
    made.install_hook("post-receive", tiny.COUNT.format(folder=made.folder))
    yield made
    made.close()


@pytest.fixture
def world(a_world, transactional_db, settings, monkeypatch):
    """The host with the guestbook, empty tables and free slots."""
    with opened(a_world, settings, monkeypatch):
        yield a_world


@pytest.fixture
def small(a_tiny_world, transactional_db, settings, monkeypatch):
    """The host with the application that ships in no time."""
    with opened(a_tiny_world, settings, monkeypatch):
        yield a_tiny_world


@contextmanager
def opened(made, settings, monkeypatch):
    settings.OROBOROS = made.config
    settings.HOST_NAME = "local"
    monkeypatch.setattr(draining, "PORT_REUSE_SECONDS", 0.0)
    monkeypatch.setattr(grants, "read_free_capacity", lambda: Capacity(10**6, 10**6))
    for slot in made.config.slots:
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host="local")
    yield
    made.tidy()
    made.take_down_production()


@pytest.fixture
def harness(small, monkeypatch):
    return Harness(small, monkeypatch)


@pytest.fixture
def ready(world):
    """Create a run of a branch and execute it up to `preview_ready`."""

    def make(branch, **fields):
        run = operations.create_run(title=fields.pop("title", branch), branch=branch, actor="ada")
        execution.execute_run(run.pk)
        run.refresh_from_db()
        assert run.status == "preview_ready", (run.status, run.failure_code, run.failure_detail)
        return run

    return make


@pytest.fixture
def shipped(ready):
    """Execute a branch up to `merged`."""

    def make(branch):
        run = ready(branch)
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
        return Run.objects.get(pk=run.pk)

    return make


@pytest.fixture
def ready_small(small):
    """Commit a branch of the small application and execute it up to `preview_ready`."""

    def make(branch, files=None):
        name = f"{branch}/{small.commits()}"
        small.commit(name, files or {f"{branch}.txt": name})
        run = operations.create_run(title=branch, branch=name, actor="ada")
        execution.execute_run(run.pk)
        run.refresh_from_db()
        assert run.status == "preview_ready", (run.status, run.failure_code, run.failure_detail)
        return run

    return make


@pytest.fixture
def ships(ready_small):
    """Execute a branch of the small application up to `merged`."""

    def make(branch, files=None):
        run = ready_small(branch, files)
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
        return Run.objects.get(pk=run.pk)

    return make


@pytest.fixture
def during(monkeypatch):
    """Call a function once within a step, before or after it acted."""

    def arrange(step, happen, *, acted=False):
        module = preview if step in PREVIEW else shipping
        todo = [happen]

        def changed(action):
            if action.name != step:
                return action

            def act(context):
                if acted:
                    action.act(context)
                if todo:
                    todo.pop()()
                if not acted:
                    action.act(context)

            return replace(action, act=act)

        monkeypatch.setattr(module, "STEPS", tuple(map(changed, module.STEPS)))

    return arrange
