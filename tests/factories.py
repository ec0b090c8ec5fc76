"""Factories of the smallest valid rows."""

from datetime import timedelta

import factory
from django.contrib.auth.models import Group, User
from django.utils import timezone
from factory.django import DjangoModelFactory

from forges.models import Delivery, OutgoingMessage, PullRequest
from notifications.models import Notification, Target
from notifications.rules import NotificationEvent
from releases.models import Deployment, Release
from releases.rules import DeploymentKind, DeploymentOutcome, ReleaseStatus
from runs.models import Approval, Artifact, Comment, Event, Freeze, Run, ShareLink, Step
from runs.protection.visits import hash_secret
from runs.rules import FINAL, Status, StepStatus
from slots.models import Lease, Slot
from slots.rules import LeaseState


def sha(number):
    """Return a commit id that differs for each number, and is none of git's own."""
    return f"{number + 0x10000:040x}"


class SlotFactory(DjangoModelFactory):
    class Meta:
        model = Slot
        django_get_or_create = ("host", "slot_id")

    number = factory.Sequence(lambda n: n % 3 + 1)
    slot_id = factory.LazyAttribute(lambda slot: f"preview-{slot.number}")
    host = "local"


class RunFactory(DjangoModelFactory):
    class Meta:
        model = Run

    title = factory.Sequence(lambda n: f"Run {n}")
    status = Status.QUEUED
    branch = "feature/reactions"
    commit_sha = factory.Sequence(sha)
    created_by = "alice"
    created_at = factory.LazyFunction(timezone.now)
    ended_at = factory.LazyAttribute(lambda run: timezone.now() if run.status in FINAL else None)
    failure_code = factory.LazyAttribute(
        lambda run: "CHECKS_FAILED" if run.status == Status.FAILED else ""
    )


class LeaseFactory(DjangoModelFactory):
    """A waiting lease; with `held` one that has a slot."""

    class Meta:
        model = Lease

    class Params:
        held = factory.Trait(
            state=LeaseState.HELD,
            slot=factory.SubFactory(SlotFactory),
            fence=factory.Sequence(lambda n: n + 1),
            granted_at=factory.LazyAttribute(lambda lease: lease.requested_at),
            heartbeat_at=factory.LazyAttribute(lambda lease: lease.requested_at),
            expires_at=factory.LazyAttribute(
                lambda lease: lease.requested_at + timedelta(seconds=lease.ttl_seconds)
            ),
        )

    run = factory.SubFactory(RunFactory)
    ttl_seconds = 14400
    requested_at = factory.LazyFunction(timezone.now)


class StepFactory(DjangoModelFactory):
    class Meta:
        model = Step

    run = factory.SubFactory(RunFactory)
    name = factory.Sequence(lambda n: f"step{n}")
    status = StepStatus.SUCCEEDED
    started_at = factory.LazyFunction(timezone.now)
    ended_at = factory.LazyAttribute(
        lambda step: None if step.status == StepStatus.RUNNING else timezone.now()
    )


class EventFactory(DjangoModelFactory):
    class Meta:
        model = Event

    run = factory.SubFactory(RunFactory)
    at = factory.LazyFunction(timezone.now)
    actor = "alice"
    kind = "created"
    text = "created"


class ArtifactFactory(DjangoModelFactory):
    class Meta:
        model = Artifact

    run = factory.SubFactory(RunFactory)
    name = factory.Sequence(lambda n: f"step{n}_log")
    path = factory.LazyAttribute(lambda artifact: f"{artifact.run.pk}/1-{artifact.name}")
    created_at = factory.LazyFunction(timezone.now)


class ApprovalFactory(DjangoModelFactory):
    class Meta:
        model = Approval

    run = factory.SubFactory(RunFactory)
    commit_sha = factory.LazyAttribute(lambda approval: approval.run.commit_sha)
    verdict = Approval.APPROVED
    actor = "bob"
    person = factory.LazyAttribute(lambda approval: approval.actor)
    at = factory.LazyFunction(timezone.now)


class CommentFactory(DjangoModelFactory):
    """A comment on the run's commit; give `path`, `line` and `side` for one on a line."""

    class Meta:
        model = Comment

    run = factory.SubFactory(RunFactory)
    commit_sha = factory.LazyAttribute(lambda comment: comment.run.commit_sha)
    text = "Why?"
    actor = "bob"
    at = factory.LazyFunction(timezone.now)


class FreezeFactory(DjangoModelFactory):
    class Meta:
        model = Freeze

    actor = "bob"
    reason = "The release party"
    since = factory.LazyFunction(timezone.now)


class ReleaseFactory(DjangoModelFactory):
    """A release that was live earlier; with `live` the one that is live now."""

    class Meta:
        model = Release

    class Params:
        live = factory.Trait(status=ReleaseStatus.LIVE)

    commit_sha = factory.Sequence(sha)
    release_id = factory.Sequence(lambda n: f"r-{20261124000000 + n}-{n:012x}")
    status = ReleaseStatus.RETIRED
    created_at = factory.LazyFunction(timezone.now)
    built_at = factory.LazyAttribute(lambda release: release.created_at)
    activated_at = factory.LazyAttribute(lambda release: release.created_at)
    healthy_at = factory.LazyAttribute(lambda release: release.created_at)


class DeploymentFactory(DjangoModelFactory):
    class Meta:
        model = Deployment

    release = factory.SubFactory(ReleaseFactory)
    kind = DeploymentKind.DEPLOY
    outcome = DeploymentOutcome.SUCCEEDED
    colour = "blue"
    actor = "bob"
    started_at = factory.LazyFunction(timezone.now)
    ended_at = factory.LazyAttribute(lambda deployment: deployment.started_at)


class PullRequestFactory(DjangoModelFactory):
    """An open pull request with the label; its author may write."""

    class Meta:
        model = PullRequest

    forge = "github"
    repository = "team/shop"
    number = factory.Sequence(lambda n: n + 1)
    title = "Add reactions"
    url = "https://github.com/team/shop/pull/1"
    author = "alice"
    head_branch = "feature/reactions"
    head_sha = factory.Sequence(sha)
    base_branch = "main"
    is_fork = is_draft = False
    state = "open"
    labels = ["preview"]
    has_access = True
    described_at = factory.LazyFunction(timezone.now)


class OutgoingMessageFactory(DjangoModelFactory):
    """A waiting status."""

    class Meta:
        model = OutgoingMessage

    pull_request = factory.SubFactory(PullRequestFactory)
    target = factory.LazyAttribute(lambda m: f"status:{m.pull_request.head_sha}:oroboros/preview")
    wanted = {
        "sha": "a" * 40,
        "context": "oroboros/preview",
        "state": "pending",
        "text": "x",
        "url": "https://api.example.com/",
    }
    wanted_at = due_at = factory.LazyFunction(timezone.now)


class DeliveryFactory(DjangoModelFactory):
    class Meta:
        model = Delivery

    forge = "github"
    delivery_id = factory.Sequence(lambda n: f"delivery-{n}")
    event = "pull_request"
    headers = {"content-type": "application/json"}
    body = b'{"action": "opened"}'
    received_at = factory.LazyFunction(timezone.now)
    decision = "acted"
    reason = "A run of 0123456789ab is started."


class ShareLinkFactory(DjangoModelFactory):
    """A link that is valid for an hour; `secret` is in its address."""

    class Meta:
        model = ShareLink
        exclude = ["secret"]

    secret = factory.Sequence(lambda n: f"a-secret-{n}")
    run = factory.SubFactory(RunFactory)
    digest = factory.LazyAttribute(lambda link: hash_secret(link.secret))
    created_by = "alice"
    created_at = factory.LazyFunction(timezone.now)
    expires_at = factory.LazyAttribute(lambda link: link.created_at + timedelta(hours=1))


class UserFactory(DjangoModelFactory):
    """A user who may log in to the admin; `groups` are the names of the groups."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user{n}")
    is_staff = True

    @factory.post_generation
    def groups(self, create, names, **kwargs):
        for name in names or ():
            self.groups.add(Group.objects.get_or_create(name=name)[0])


class TargetFactory(DjangoModelFactory):
    """A webhook that is told everything."""

    class Meta:
        model = Target

    name = factory.Sequence(lambda n: f"target {n}")
    kind = "webhook"
    address = "https://hooks.example.com/x"
    secret = "whsec_" + "a" * 44
    events = NotificationEvent.values
    created_by = "alice"
    created_at = factory.LazyFunction(timezone.now)


class NotificationFactory(DjangoModelFactory):
    """A notification that waits."""

    class Meta:
        model = Notification

    target = factory.SubFactory(TargetFactory)
    event = NotificationEvent.READY
    source = factory.Sequence(lambda n: f"event {n}")
    title = "A preview is ready"
    text = "It is ready."
    payload = factory.LazyFunction(dict)
    wanted_at = due_at = factory.LazyFunction(timezone.now)
