"""What waits for a person, by their role; and the first steps of a new install."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from runs.admin.needs_you import (
    DashboardFacts,
    list_first_steps,
    list_mentions,
    list_needs,
    list_own_failures,
)
from runs.leasing.queue_status import SlotStatus
from runs.models import Freeze, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import LeaseState, SlotState
from tests.factories import (
    CommentFactory,
    LeaseFactory,
    RunFactory,
    SlotFactory,
    UserFactory,
)
from web.permissions import GROUPS

AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def build_status(number, status, *, left, creator="ada", **slot):
    run = Run(title=f"Run {number}", status=status, created_by=creator, commit_sha=str(number))
    lease = Lease(state=LeaseState.HELD, run=run, granted_at=AT, expires_at=AT + left)
    row = Slot(pk=number, slot_id=f"preview-{number}", number=number, **slot)
    return SlotStatus(row, SlotState.LEASED, lease)


FACTS = DashboardFacts(
    at=AT,
    slots=[
        build_status(1, Status.PREVIEW_READY, left=timedelta(hours=3)),
        build_status(2, Status.PREPARING, left=timedelta(minutes=50)),
        build_status(3, Status.PREVIEW_READY, left=timedelta(minutes=5), creator="bob"),
        SlotStatus(
            Slot(pk=4, slot_id="preview-4", quarantine_reason="the disk"),
            SlotState.QUARANTINED,
            None,
        ),
    ],
    own_failures=[Run(title="Broken", failure_code="BUILD_FAILED")],
    freezes=[Freeze(actor="olga", reason="a demo")],
    unpushed_count=2,
    refusal="No slot is granted: 1 MiB of disk is free.",
    merged_commits=frozenset("3"),
)


@pytest.mark.parametrize(
    ("role", "labels"),
    [
        ("viewer", []),
        ("approver", ["Ready for review", "Expires soon", "Failed"]),
        (
            "operator",
            [
                "Host is short",
                "Frozen",
                "Quarantined",
                "Unpushed",
                "Ready for review",
                "Expires soon",
                "Failed",
            ],
        ),
    ],
)
def test_each_role_sees_what_it_can_act_on(role, labels):
    assert [need.label for need in list_needs("ada", GROUPS[role], FACTS)] == labels


def test_a_need_names_its_object_and_leads_to_it():
    needs = {need.label: need for need in list_needs("ada", GROUPS["operator"], FACTS)}
    assert needs["Ready for review"].text == "Run 1 by ada"
    assert needs["Expires soon"].until == AT + timedelta(minutes=50)
    assert needs["Unpushed"].text == "2 merged commits are not on the remote"
    assert needs["Quarantined"].url.endswith("/slot/4/change/")


@pytest.mark.django_db
def test_an_old_a_retried_and_another_persons_failure_needs_no_one():
    now = timezone.now()
    fresh = RunFactory(status=Status.FAILED, created_by="ada", branch="a")
    RunFactory(status=Status.FAILED, created_by="bob", branch="b")
    RunFactory(parent=RunFactory(status=Status.FAILED, created_by="ada", branch="c"), branch="c2")
    old = now - timedelta(days=8)
    RunFactory(status=Status.FAILED, created_by="ada", branch="d", ended_at=old)
    RunFactory(status=Status.FAILED, created_by="ada", branch="e")
    RunFactory(status=Status.MERGED, created_by="ada", branch="e")
    assert list_own_failures("ada", now, 10) == [fresh]


@pytest.mark.parametrize(
    ("release", "people", "count"), [(True, False, 0), (False, True, 6), (False, False, 6)]
)
def test_the_first_steps_are_shown_until_they_are_done(release, people, count):
    steps = list_first_steps(
        has_remote=True,
        has_release=release,
        has_people=lambda: people,
        has_preview=True,
        has_push_mode=False,
        has_forge=True,
    )
    assert len(steps) == count
    assert [step.is_done for step in steps][4:] == [False, True][:count]
    assert [step.is_done for step in steps][:3] == [True, people, True][:count]


@pytest.mark.django_db
def test_the_dashboard_shows_what_waits_and_that_nothing_does():
    client = Client()
    client.force_login(UserFactory(username="olga", groups=["operator"]))
    SlotFactory(number=2)
    page = client.get("/admin/").content.decode()
    assert "Nothing waits for you." in page and "First steps" in page
    assert re.search(r"<title>\s*Oroboros\s*</title>", page)
    lease = LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY)
    page = client.get("/admin/").content.decode()
    assert re.search(r"<title>\s*\(1\) Oroboros\s*</title>", page)
    for text in ("Ready for review", f"{lease.run.title} by alice", "Time left"):
        assert (text, text in page) == (text, True)
    viewer = Client()
    viewer.force_login(UserFactory(groups=["viewer"]))
    page = viewer.get("/admin/").content.decode()
    assert "Nothing waits for you." in page and "First steps" not in page


@pytest.mark.django_db
def test_open_comments_on_runs_with_a_slot_need_the_person_that_they_mention():
    lease = LeaseFactory(held=True)
    mine = CommentFactory(run=lease.run, text="@ann: why?")
    for text in ("@anna", "x@ann", "no one"):
        CommentFactory(run=lease.run, text=text)
    CommentFactory(run=lease.run, text="@ann", actor="ann")
    CommentFactory(run=lease.run, text="@ann", resolved_at=AT, resolved_by="bob")
    CommentFactory(text="@ann")
    statuses = [SlotStatus(lease.slot, SlotState.LEASED, lease)]
    assert list_mentions("ann", statuses) == [mine]
    assert list_mentions("ann", []) == []
    [need] = list_needs("ann", GROUPS["viewer"], DashboardFacts(at=AT, mentions=[mine]))
    assert (need.label, need.text) == ("Mentioned", f"{lease.run}, bob: @ann: why?")
    assert need.url.endswith(f"{lease.run.pk}/change/#comments")
