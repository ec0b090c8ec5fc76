"""When the worker's /health says that the queue delivers."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core.clock import get_database_time
from runs.lifecycle import queue_health, schedules
from runs.lifecycle.queue_health import QUEUE, is_delivering
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
    RunFactory(claim_owner="a", claim_expires_at=at + timedelta(seconds=25))
    RunFactory(claim_owner="b", claim_expires_at=at + timedelta(seconds=10))
    health = queue_health.read_queue_health()
    age = health.pop("canary_age_seconds")
    assert 4 <= age < 10
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
