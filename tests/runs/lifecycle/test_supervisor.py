"""The supervisor's periodic tasks: none delays another, and an error ends none of them."""

import dataclasses
import logging
import os
import signal
import subprocess
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import requests
from django.db import DatabaseError, InterfaceError
from django_q.models import Schedule

from core import outages
from core.claims import make_owner_name, make_owner_prefix
from core.clock import get_database_time
from forges.models import Delivery
from host.deadline import wait_until
from host.errors import Refused
from host.process import process_table
from host.process.process_id import ProcessId
from runs.lifecycle.queue_health import QUEUE
from runs.lifecycle.queue_processes import QueueProcesses
from runs.lifecycle.supervisor import DELIVERY_CHECK_SECONDS, PeriodicTask, Supervisor
from runs.models import Heartbeat, Run
from tests.environment import free_port
from tests.factories import RunFactory


@pytest.fixture
def supervisor(settings):
    made = Supervisor(settings.OROBOROS)
    yield made
    made.shutdown.set()
    for task in made.periodic_tasks:
        task.thread.join(60)


def test_a_task_that_hangs_delays_no_other(supervisor):
    release, done = threading.Event(), threading.Event()
    supervisor.periodic_tasks = [
        PeriodicTask("hangs", 0.0, lambda: release.wait(600)),
        PeriodicTask("works", 0.0, done.set),
    ]
    supervisor.ensure_threads()
    try:
        assert done.wait(60)
    finally:
        release.set()


def test_a_task_with_an_error_is_run_again_in_the_same_thread(supervisor):
    threads, again = [], threading.Event()

    def run():
        threads.append(threading.current_thread())
        if len(threads) == 1:
            raise DatabaseError("the server was restarted")
        again.set()

    supervisor.periodic_tasks = [PeriodicTask("fails once", 0.0, run)]
    supervisor.ensure_threads()
    assert again.wait(60)
    assert threads[0] is threads[1]


def test_an_error_that_lasts_is_logged_when_it_begins_and_when_it_ends(caplog):
    caplog.set_level(logging.INFO)
    errors = [OSError("disk full"), OSError("disk full"), Refused("x", "other"), None, None]

    def run():
        error = errors.pop(0)
        if error is not None:
            raise error

    task = PeriodicTask("the rotation", 0.0, run)
    while errors:
        task.run_if_due(1.0)
    begin, changed, end = [record.getMessage() for record in caplog.records]
    assert "the rotation failed" in begin and begin.endswith("disk full")
    assert changed.endswith("other")
    assert end == "the rotation works again."
    assert not any(record.exc_info for record in caplog.records)


def test_an_outage_of_the_database_is_left_to_its_announcement(caplog, monkeypatch):
    met = []
    monkeypatch.setattr(outages, "_start_watch", met.append)

    def run():
        raise InterfaceError("the connection is closed")

    task = PeriodicTask("the reaper", 0.0, run)
    task.run_if_due(1.0)
    assert (met, task.failing, caplog.records) == (["the connection is closed"], "", [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_task_whose_thread_a_bug_ended_gets_another_thread(supervisor):
    runs, again = [], threading.Event()

    def run():
        runs.append(1)
        if len(runs) == 1:
            raise KeyError("a bug")
        again.set()

    supervisor.periodic_tasks = [PeriodicTask("has a bug", 0.0, run)]
    supervisor.ensure_threads()
    supervisor.periodic_tasks[0].thread.join(60)
    supervisor.ensure_threads()
    assert again.wait(60)


@pytest.mark.django_db(transaction=True)
def test_health_is_not_answered_before_the_last_clusters_heartbeat_is_deleted(
    settings, monkeypatch
):
    Heartbeat.objects.create(name=QUEUE, at=get_database_time())
    supervisor = Supervisor(dataclasses.replace(settings.OROBOROS, worker_port=free_port()))
    supervisor.periodic_tasks, found = [], []

    class Queue:
        def __init__(self, name, work):
            self.name = name

        def fork(self, log):
            if self.name == "queue":
                look()

    def look():
        with pytest.raises(requests.Timeout):
            requests.get(f"http://127.0.0.1:{supervisor.config.worker_port}/health", timeout=0.3)
        found.append((Heartbeat.objects.filter(name=QUEUE).exists(), Schedule.objects.count()))
        supervisor.shutdown.set()

    monkeypatch.setattr("runs.lifecycle.supervisor.ForkServer", Queue)
    monkeypatch.setattr(signal, "signal", lambda *how: None)
    supervisor.run()
    assert found == [(False, 4)]


@pytest.mark.django_db(transaction=True)
def test_a_process_that_no_look_has_seen_loses_its_claim_with_its_cluster(supervisor, monkeypatch):
    supervisor.periodic_tasks = []
    monkeypatch.setattr(supervisor, "_start_cluster", lambda: None)
    supervisor.cluster, run = ProcessId(1 << 22, 0.0), RunFactory()
    assert Run.objects.claim(run.pk, f"{make_owner_prefix(1 << 22)}4000:x")
    assert supervisor.processes.members == set()
    supervisor.step()
    assert Run.objects.claim(run.pk, make_owner_name())


@pytest.mark.django_db(transaction=True)
def test_a_new_worker_ends_the_claims_of_one_that_was_killed_as_a_whole(supervisor, monkeypatch):
    child, run = subprocess.Popen(["true"]), RunFactory()
    child.wait()
    delivery = Delivery.objects.create(body=b"{}", received_at=get_database_time())
    rows = [(Run, run), (Delivery, delivery)]
    for model, row in rows:
        assert model.objects.claim(row.pk, f"{make_owner_prefix(child.pid)}{child.pid}:x")
    supervisor.queue_processes = SimpleNamespace(fork=lambda log: None)
    supervisor.periodic_tasks = []
    supervisor._start_cluster()
    for model, row in rows:
        assert model.objects.claim(row.pk, make_owner_name())


@pytest.fixture
def cluster(supervisor):
    """A process with two children in place of the cluster; the supervisor has no other task."""
    supervisor.periodic_tasks = []
    script = ["sh", "-c", "sleep 600 & sleep 600 & wait"]
    with subprocess.Popen(script, start_new_session=True) as process:
        try:
            assert wait_until(lambda: len(list_children(process.pid)) == 2, seconds=60)
            yield ProcessId(process.pid, process_table.read_start_time(process.pid))
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def list_children(pid):
    return [ProcessId(one.pid, one.start_time) for one in process_table.list_descendants(pid)]


@pytest.mark.django_db
def test_the_claim_of_a_queue_worker_that_was_killed_ends_at_the_next_look(supervisor, cluster):
    supervisor.cluster, workers = cluster, list_children(cluster.pid)
    supervisor.processes = QueueProcesses(started=time.monotonic())
    later = get_database_time() + timedelta(hours=1)
    Heartbeat.objects.create(name=QUEUE, at=later)
    rows = [RunFactory(), RunFactory()]
    for run, worker in zip(rows, workers, strict=True):
        assert Run.objects.claim(run.pk, f"{make_owner_prefix(cluster.pid)}{worker.pid}:x")
    Run.objects.update(claim_expires_at=later)
    supervisor.step()
    os.kill(workers[0].pid, signal.SIGKILL)
    assert wait_until(lambda: not workers[0].is_alive(), seconds=60)
    supervisor.step()
    again = [Run.objects.claim(run.pk, make_owner_name()) for run in rows]
    assert [claim is not None for claim in again] == [True, False]


@pytest.mark.django_db
def test_whether_the_queue_delivers_is_asked_when_due_and_at_each_tick_after_a_loss(
    supervisor, cluster, monkeypatch
):
    restarts, now = [], time.monotonic()
    monkeypatch.setattr(supervisor, "_restart_cluster", lambda: restarts.append(1))
    supervisor.cluster, supervisor.delivery_due = cluster, now + 600
    supervisor.processes = QueueProcesses(started=now - 600)
    supervisor.step()
    assert restarts == []
    supervisor.processes = QueueProcesses(started=now - 600, lost_at=now - 15)
    supervisor.step()
    assert restarts == [1]
    assert supervisor.delivery_due <= time.monotonic() + DELIVERY_CHECK_SECONDS
    supervisor.processes, supervisor.delivery_due = QueueProcesses(started=now - 600), now
    supervisor.step()
    assert restarts == [1, 1]


@pytest.mark.django_db
def test_a_late_heartbeat_after_the_loss_of_a_queue_worker_restarts_the_cluster(
    supervisor, cluster, monkeypatch
):
    restarts, now = [], time.monotonic()
    monkeypatch.setattr(supervisor, "_restart_cluster", lambda: restarts.append(1))
    Heartbeat.objects.create(name=QUEUE, at=get_database_time() - timedelta(seconds=15))
    supervisor.cluster = cluster
    supervisor.processes = QueueProcesses(started=now - 600, lost_at=now - 15)
    supervisor.step()
    assert restarts == [1]
