"""What is told of the rows of runs, slots and releases: each thing once, and nothing of before."""

from datetime import timedelta

import pytest
from django.db.models import F

from core.clock import get_database_time
from notifications import collecting
from notifications.models import Cursor, Notification, Target
from releases.rules import DeploymentKind, DeploymentOutcome
from runs.models import Event
from tests.factories import DeploymentFactory, EventFactory, LeaseFactory, RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def target(add):
    return add("webhook", "https://hooks.example.com/x")


@pytest.fixture
def collect(settings):
    def step():
        collecting.collect(settings.OROBOROS)
        return list(Notification.objects.order_by("pk").values_list("event", flat=True))

    return step


def happen(kind, run=None, **fields):
    return EventFactory(kind=kind, run=run, at=get_database_time(), **fields)


def test_a_run_is_told_of_from_ready_to_shipped(target, collect):
    run = RunFactory(status="preview_ready")
    happen("preview_ready", run), happen("progress", run)
    assert collect() == ["run.ready", "run.approval_wanted"]
    run.status = "merged"
    run.ended_at = get_database_time()
    run.save()
    happen("merged", run)
    assert collect()[2:] == ["run.shipped"]
    assert collect()[2:] == ["run.shipped"]


def test_the_same_again_is_quiet_for_an_hour(target, collect):
    run = RunFactory(status="preview_ready")
    for _ in range(3):  # it crashed, and came back
        happen("preview_ready", run)
    happen("quarantined", slot_id="preview-1"), happen("quarantined", slot_id="preview-1")
    happen("quarantined", slot_id="preview-2")
    happen("frozen", text="a"), happen("frozen", text="b")
    expected = ["run.ready", "run.approval_wanted", *["slot.quarantined"] * 2]
    assert collect() == [*expected, *["shipping.frozen"] * 2]
    Notification.objects.update(wanted_at=F("wanted_at") - timedelta(hours=2))
    Event.objects.update(at=F("at") - timedelta(hours=2))
    happen("quarantined", slot_id="preview-1")
    assert len(collect()) == 7


def test_a_rollback_and_a_slot_that_expires_soon_are_told_of_once(target, collect):
    now = get_database_time()
    rollback = {"kind": DeploymentKind.ROLLBACK, "started_at": now + timedelta(seconds=1)}
    DeploymentFactory(**rollback)
    DeploymentFactory(**rollback, outcome=DeploymentOutcome.RESTORED)
    soon = now + timedelta(minutes=10)
    long = {"held": True, "requested_at": now - timedelta(hours=4), "expires_at": soon}
    lease = LeaseFactory(slot__number=1, **long)
    LeaseFactory(slot__number=2, run__prepare=False, **long)
    LeaseFactory(slot__number=3, is_pinned=True, **long)
    LeaseFactory(slot__number=4, held=True, requested_at=now, ttl_seconds=600)
    expected = ["release.rolled_back", "release.rolled_back", "slot.expiring"]
    assert collect() == collect() == expected
    texts = [one.text for one in Notification.objects.order_by("pk")]
    assert "serves" in texts[0]
    assert "does not serve: the rollback is restored" in texts[1]
    lease.expires_at = soon + timedelta(minutes=1)  # kept, and over soon once more
    lease.save()
    assert len(collect()) == 4


def test_what_was_before_the_target_is_not_told(collect, add):
    happen("frozen")
    assert collect() == []
    add("webhook", "https://hooks.example.com/x")
    assert collect() == []
    happen("frozen")
    assert collect() == ["shipping.frozen"]


def test_an_event_that_was_committed_late_is_told_and_old_ones_are_not_read_again(target, collect):
    collect()
    late, early = happen("frozen", text="late"), happen("frozen", text="early")
    Event.objects.filter(pk=late.pk).delete()  # not visible yet: its transaction is open
    assert len(collect()) == 1
    late.save(force_insert=True)
    assert len(collect()) == 2
    Target.objects.update(created_at=F("created_at") - timedelta(hours=1))
    Event.objects.update(at=F("at") - timedelta(minutes=2))
    collect()
    assert Cursor.objects.get().event_id == early.pk


def test_old_notifications_are_removed(target, collect, settings):
    happen("frozen")
    collect()
    collecting.remove_old(settings.OROBOROS)
    assert Notification.objects.count() == 1
    Notification.objects.update(wanted_at=F("wanted_at") - timedelta(days=31))
    collecting.remove_old(settings.OROBOROS)
    assert not Notification.objects.exists()
