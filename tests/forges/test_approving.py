"""Approving reviews: of whom, of which commit, and when they are approvals here."""

import pytest

from accounts.models import AuditEntry
from forges import reconciler
from forges.models import LinkedAccount
from runs.models import Approval
from runs.rules import Status
from tests.factories import UserFactory
from tests.forges import fake_forge, payloads
from tests.forges.kinds import EACH_API
from tests.forges.test_reporting import make_ready

pytestmark = pytest.mark.django_db
APPROVED = "APPROVED"


@pytest.fixture
def grace(world):
    world.forge.writers.add("grace")
    user = UserFactory(username="grace", groups=["approver"])
    for login in ("grace", "alice"):
        LinkedAccount.objects.create(forge=world.forge.kind, login=login, user=user)
    world.configure(APPROVE_BY_REVIEW="true")
    return user


def review(world, pull, *reviews):
    pull.reviews = list(reviews)
    return world.send(*payloads.review(world.forge.kind, pull))


@EACH_API
def test_a_review_of_the_head_approves_it_in_the_linked_users_name_once(world, grace):
    pull = world.pull()
    world.deliver(pull)
    run = make_ready()
    who = "alice" if world.forge.kind == "gitlab" else "grace"
    delivery = review(world, pull, (who, APPROVED, pull.sha))
    assert (delivery.decision, delivery.run) == ("acted", run), delivery.reason
    approval = Approval.objects.get()
    assert (approval.actor, approval.commit_sha) == ("grace", pull.sha)
    assert approval.reason == "review of pull request #12"
    run.refresh_from_db()
    assert run.status == Status.APPROVED
    review(world, pull, (who, APPROVED, pull.sha))
    assert Approval.objects.count() == 1
    entry = AuditEntry.objects.get()
    assert (entry.kind, entry.actor, entry.address) == ("change", "grace", world.forge.kind)
    assert (entry.target, entry.agent) == (str(run.pk), "review")


@pytest.mark.parametrize(
    ("reviews", "words"),
    [
        ([("grace", APPROVED, "f" * 40)], "No review approves the head"),
        ([("grace", APPROVED, None), ("grace", "CHANGES_REQUESTED", None)], "No review"),
        pytest.param(
            [("grace", APPROVED, None), ("grace", "DISMISSED", None)],
            "No review",
            marks=pytest.mark.full,
        ),
        ([("mallory", APPROVED, None)], "mallory may not write"),
        ([("bob", APPROVED, None)], "linked account"),
    ],
)
def test_a_review_that_approves_nothing_says_why(world, grace, reviews, words):
    world.forge.writers.add("bob")
    pull = world.pull()
    world.deliver(pull)
    make_ready()
    found = [(login, state, sha or pull.sha) for login, state, sha in reviews]
    delivery = review(world, pull, *found)
    assert (delivery.decision, words in delivery.reason) == ("ignored", True), delivery.reason
    assert not Approval.objects.exists()


def test_a_comment_after_an_approving_review_leaves_it(world, grace):
    pull = world.pull()
    world.deliver(pull)
    make_ready()
    review(world, pull, ("grace", APPROVED, pull.sha), ("grace", "COMMENTED", pull.sha))
    assert Approval.objects.count() == 1


def test_the_authors_own_review_is_refused_where_that_is_forbidden(world, grace, configure):
    configure(APPROVAL_SELF="forbidden")
    pull = world.pull()
    world.deliver(pull)
    make_ready()
    assert "APPROVAL_SELF" in review(world, pull, ("alice", APPROVED, pull.sha)).reason
    assert not Approval.objects.exists()


def test_a_review_before_the_preview_or_whose_delivery_was_lost_counts_later(world, grace):
    pull = world.pull()
    world.deliver(pull)
    assert "not ready" in review(world, pull, ("grace", APPROVED, pull.sha)).reason
    run = make_ready()
    reconciler.reconcile(world.config)
    run.refresh_from_db()
    assert run.status == Status.APPROVED


def test_reviews_approve_nothing_unless_the_setting_says_so(world, grace):
    world.configure(APPROVE_BY_REVIEW="false")
    pull = world.pull()
    world.deliver(pull)
    make_ready()
    assert "APPROVE_BY_REVIEW is off" in review(world, pull, ("grace", APPROVED, pull.sha)).reason
    reconciler.reconcile(world.config)
    assert not Approval.objects.exists()


@pytest.mark.parametrize("kind", ["gitlab"])
def test_an_approval_on_gitlab_from_before_the_last_push_does_not_count(world, grace):
    pull = world.pull()
    world.deliver(pull)
    make_ready()
    delivery = review(world, pull, ("alice", APPROVED, "f" * 40))
    assert (delivery.decision, delivery.reason) == ("ignored", "No review approves the head.")
    assert not Approval.objects.exists()


@pytest.mark.parametrize("kind", ["gitlab"])
def test_an_approval_counts_nothing_while_gitlab_prepares_the_versions(world, grace, monkeypatch):
    routes = tuple(
        (
            method,
            path,
            (lambda *request, **more: (200, [])) if path.endswith("/versions") else answer,
        )
        for method, path, answer in fake_forge.GITLAB_ROUTES
    )
    monkeypatch.setattr(fake_forge, "GITLAB_ROUTES", routes)
    pull = world.pull()
    world.deliver(pull)
    make_ready()
    delivery = review(world, pull, ("alice", APPROVED, pull.sha))
    assert (delivery.decision, delivery.reason) == ("ignored", "No review approves the head.")
