"""Each end of an application's process is told at once, however long its restart has to wait."""

import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from host.deadline import wait_until
from host.services.redis_server import RedisServer
from host.units import managers
from runs.leasing import backend_supervision, process_ends
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease
from slots.runtime import backend, processes
from tests.environment import free_port
from tests.runs.lifecycle.test_reconciler import (
    clean_slot,
    config,
    events,
    folder,
    lease_of,
    place,
    preview,
    row,
    whole_config,
)
from tests.slots.runtime.test_processes import WORK, write_processes

__all__ = ["clean_slot", "config", "folder", "place", "preview", "row", "whole_config"]


@pytest.fixture
def busy(config, place, preview, monkeypatch):
    """The preview has two processes beside its backend."""
    monkeypatch.setattr(processes, "SETTLE_SECONDS", 0.1)
    backend.stop(config, place)
    write_processes(config, place, run=str(preview.pk), worker=WORK, clock=WORK)
    backend.start(config, place)
    return preview


def kill(config, unit):
    manager = managers.get_manager(config)
    os.kill(manager.status(unit).pid, signal.SIGKILL)
    assert wait_until(lambda: manager.find_ended([unit]), seconds=60, interval=0.01)


def test_the_second_of_two_ends_is_told_while_its_restart_waits(config, place, busy):
    kill(config, "ouroboros-process-preview-1@worker")
    process_ends.report_ends(config)
    [first] = events("backend_down")
    assert first.startswith("the process worker of preview-1 is not running: it ended")
    backend_supervision.check_backends(config)
    kill(config, "ouroboros-process-preview-1@clock")
    backend_supervision.check_backends(config)
    _, second = events("backend_down")
    assert second.startswith("the process clock of preview-1 is not running: it ended")
    backend_supervision.restart_backend(lease_of(busy).pk, 1)
    assert backend.status(config, place).matches_spec
    assert lease_of(busy).process_restarts == {"worker": 1, "clock": 1}

    # The next restart has a delay; the end is told all the same, and once.
    Lease.objects.filter(run=busy).update(restart_at=timezone.now() + timedelta(hours=1))
    kill(config, "ouroboros-process-preview-1@worker")
    for _ in range(2):
        process_ends.report_ends(config)
        backend_supervision.check_backends(config)
    assert len(events("backend_down")) == 3
    assert lease_of(busy).restarts == 1
    assert {event.run_id for event in Event.objects.filter(kind="backend_down")} == {busy.pk}


def test_what_ends_between_its_check_and_the_restart_is_told(config, place, busy):
    kill(config, "ouroboros-process-preview-1@worker")
    Run.objects.filter(pk=busy.pk).update(status=Status.PREPARING)
    process_ends.report_ends(config)
    assert events("backend_down") == []  # the steps of a run end processes themselves
    Run.objects.filter(pk=busy.pk).update(status=Status.PREVIEW_READY)
    backend_supervision.check_backends(config)
    kill(config, backend.unit_name(place))
    backend_supervision.restart_backend(lease_of(busy).pk, 1)
    assert events("backend_down")[1:] == ["the backend of preview-1 is not running"]


def test_what_ends_while_others_are_started_again_is_told_and_counted(
    config, place, busy, monkeypatch
):
    kill(config, "ouroboros-process-preview-1@worker")
    backend_supervision.check_backends(config)
    revive = backend.revive

    def kill_and_revive(*arguments, **options):
        kill(config, "ouroboros-process-preview-1@clock")
        return revive(*arguments, **options)

    monkeypatch.setattr(backend, "revive", kill_and_revive)
    backend_supervision.restart_backend(lease_of(busy).pk, 1)
    for _ in range(2):
        process_ends.report_ends(config)
    told = [text.split(" of ")[0] for text in events("backend_down")]
    assert told == ["the process worker", "the process clock"]
    assert lease_of(busy).process_restarts == {"worker": 1, "clock": 1}


def test_an_end_of_a_server_is_told_to_the_run_that_has_it(
    config, place, busy, django_assert_num_queries
):
    with django_assert_num_queries(0):  # at rest
        process_ends.report_ends(config)
    its_port = replace(config, slots=(replace(place, redis_port=free_port()),))
    server = RedisServer(its_port, place.slot_id)
    server.start_empty()
    try:
        kill(config, server.unit_name)
        process_ends.report_ends(config)
    finally:
        server.remove()
    event = Event.objects.get(kind="service_ended")
    assert (event.run_id, event.slot_id) == (busy.pk, "preview-1")
    assert event.text.startswith("ouroboros-redis@preview-1 ended")
