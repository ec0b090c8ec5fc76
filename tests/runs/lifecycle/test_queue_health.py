"""When the worker's /health says that the queue delivers."""

import os
import signal
import subprocess
from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from core.clock import get_database_time
from host.deadline import wait_until
from host.process import process_table
from host.process.process_id import ProcessId
from runs.lifecycle import queue_health, schedules
from runs.lifecycle.queue_health import QUEUE, is_delivering
from runs.lifecycle.queue_processes import QueueProcesses
from runs.models import Heartbeat
from tests.factories import RunFactory

AT = timezone.now()
FRESH, OLD = AT - timedelta(seconds=29), AT - timedelta(seconds=31)


@pytest.mark.parametrize(
    ("heartbeat", "busy", "expected"),
    [(FRESH, 0, True), (OLD, 0, False), (OLD, 4, False), (OLD, 5, True), (None, 0, False)],
)
def test_a_queue_delivers_with_a_fresh_heartbeat_or_while_every_worker_is_busy(
    heartbeat, busy, expected
):
    assert is_delivering(heartbeat, busy, 5, AT) is expected


@pytest.mark.django_db
def test_health_counts_the_runs_whose_claim_was_renewed_lately(settings):
    at = get_database_time()
    Heartbeat.objects.create(name=QUEUE, at=at - timedelta(seconds=4))
    RunFactory(claim_owner="a", claim_expires_at=at + timedelta(seconds=30))
    RunFactory(claim_owner="b", claim_expires_at=at + timedelta(seconds=10))
    health = queue_health.read_queue_health()
    age = health.pop("canary_age_seconds")
    assert 4 <= age < 25
    workers = settings.Q_CLUSTER["workers"]
    expected = {"status": "ok", "busy": 1, "workers": workers, "overdue_schedules": []}
    assert health == expected


@pytest.mark.django_db
def test_a_heartbeat_is_recorded_by_its_hook_and_can_be_forgotten():
    queue_health.record_heartbeat(None)
    queue_health.record_heartbeat(None)
    assert queue_health.read_queue_health()["status"] == "ok"
    queue_health.forget_heartbeat()
    assert queue_health.read_queue_health()["status"] == "queue_frozen"


@pytest.mark.django_db
def test_health_names_the_schedules_that_the_supervisor_runs():
    task = schedules.BY_NAME["reaper"]
    Heartbeat.objects.create(name=task.overdue_name, at=get_database_time())
    assert queue_health.read_queue_health()["overdue_schedules"] == ["reaper"]


@pytest.mark.django_db
def test_rows_of_tasks_that_were_taken_a_while_ago_are_deleted(settings):
    retry, name = settings.Q_CLUSTER["retry"], settings.Q_CLUSTER["name"]
    now = timezone.now()
    for label, key, lock in (
        ("waits", name, now - timedelta(hours=1)),
        ("just taken", name, now + timedelta(seconds=retry - 20)),
        ("lost", name, now + timedelta(seconds=retry - 100)),
        ("another host's", "other", now + timedelta(seconds=retry - 100)),
    ):
        OrmQ.objects.create(key=key, payload=label, lock=lock)
    assert queue_health.delete_taken_tasks() == 1
    left = OrmQ.objects.order_by("pk").values_list("payload", flat=True)
    assert [*left] == ["waits", "just taken", "another host's"]


@pytest.mark.parametrize(
    ("started", "lost_at", "now", "max_age", "is_due"),
    [
        (0, None, 40, 30, False),
        (0, None, 46, 30, True),
        (100, 110, 121, 12, False),
        (100, 110, 123, 12, True),
        (0, 110, 175, 30, True),
    ],
)
def test_after_the_loss_of_a_queue_process_the_cluster_is_restarted_sooner(
    started, lost_at, now, max_age, is_due
):
    processes = QueueProcesses(started=started, lost_at=lost_at)
    assert processes.find_max_age(now) == max_age
    assert processes.is_restart_due(now) is is_due


def test_a_process_that_ended_is_noticed_and_what_is_left_is_killed():
    with subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"]) as cluster:
        processes, leader = QueueProcesses(started=0), ProcessId(cluster.pid, 0)
        assert wait_until(lambda: len(process_table.list_descendants(cluster.pid)) == 2, seconds=60)
        assert processes.update(leader, 1.0) == set()
        first, second = processes.members
        os.kill(first.pid, signal.SIGKILL)
        assert wait_until(lambda: not first.is_alive(), seconds=60)
        assert processes.update(leader, 2.0) == {first}
        assert processes.lost_at == 2.0
        assert processes.members == {second}
        processes.kill_members()
        assert wait_until(lambda: not second.is_alive(), seconds=60)
