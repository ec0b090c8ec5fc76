"""One row of each model, as the product relates them."""

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.tokens import create_token
from core.audit_trail import Entry, append_entry
from runs.lifecycle import schedules
from runs.rules import Status, StepStatus
from tests.factories import (
    ApprovalFactory,
    ArtifactFactory,
    CommentFactory,
    DeliveryFactory,
    DeploymentFactory,
    EventFactory,
    FreezeFactory,
    LeaseFactory,
    NotificationFactory,
    OutgoingMessageFactory,
    PullRequestFactory,
    ReleaseFactory,
    RunFactory,
    ShareLinkFactory,
    StepFactory,
    UserFactory,
)


def create_rows():
    """Create one row of each model, related as the product relates them; returns a run."""
    live = ReleaseFactory(live=True, schema_changes=[{"kind": "adds", "text": "a column"}])
    DeploymentFactory(release=live, previous=ReleaseFactory())
    lease = LeaseFactory(held=True, run__status=Status.PREVIEW_READY)
    LeaseFactory()
    merged = RunFactory(
        status=Status.MERGED,
        release=live,
        candidate_sha="a" * 40,
        pushed=False,
        next_action="git push",
    )
    step = StepFactory(run=lease.run, name="lease")
    ArtifactFactory(run=lease.run, step=step, name="lease_log")
    StepFactory(run=lease.run, name="worktree", status=StepStatus.RUNNING)
    EventFactory(run=lease.run)
    ApprovalFactory(run=merged)
    CommentFactory(run=lease.run)
    FreezeFactory()
    RunFactory(status=Status.FAILED)
    held = PullRequestFactory(is_fork=True, effect="hold", reason="An operator must allow it.")
    DeliveryFactory(pull_request=held)
    OutgoingMessageFactory(pull_request=held)
    DeliveryFactory(pull_request=PullRequestFactory(run=lease.run), run=lease.run)
    NotificationFactory()
    ShareLinkFactory(run=lease.run, note="for the customer")
    create_token("ci", ["view"], created_by="alice")
    append_entry(Entry("change", "alice", target="preview-1", reason="a demo"))
    schedules.sync_schedules()
    person = UserFactory(username="rita", groups=["viewer"])
    Client().force_login(person)
    key = Session.objects.latest("expire_date").session_key
    UserSession.objects.create(user=person, session_key=key, ip="192.0.2.7", user_agent="Firefox")
    return lease.run
