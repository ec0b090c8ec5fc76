"""Commands in comments: who may give them, what they do, and how they are answered."""

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry
from forges.models import LinkedAccount, PullRequest
from forges.rules import Command, parse_command, parse_duration
from runs import allowed_actions
from runs.models import Approval, Run
from runs.rules import Status
from slots.models import Lease
from tests.factories import UserFactory
from tests.forges.kinds import EACH_API
from tests.forges.test_reporting import make_ready, the_comment

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/preview", Command("preview")),
        ("  /keep 8h  \nplease", Command("keep", "8h")),
        ("/ship 0123abc", Command("ship", "0123abc")),
        ("please /ship", None),
        ("/shipit", None),
        ("/keep 8h now", None),
        ("", None),
        ("> /ship", None),
    ],
)
def test_a_command_is_the_first_line(text, command):
    assert parse_command(text) == command


def test_durations_have_one_unit():
    assert [parse_duration(one) for one in ("30m", "8h", "2d", "8H")] == [
        1800, 28800, 172800, 28800,
    ]  # fmt: skip
    assert [parse_duration(one) for one in ("8", "0h", "-1h", "1e3h", "99999999h")] == [None] * 5


@pytest.fixture
def pull(world):
    made = world.pull()
    world.deliver(made)
    return made


@pytest.fixture
def grace():
    """A user who may approve, linked to alice's account."""
    user = UserFactory(username="grace", groups=["approver"])
    LinkedAccount.objects.create(forge="github", login="Alice", user=user)
    return user


@EACH_API
def test_preview_starts_a_run_whatever_the_policy_says_and_cancel_ends_it(world):
    pull = world.pull(labels=[])
    assert world.comment(pull, "/preview").decision == "acted"
    run = Run.objects.get()
    assert run.status == Status.PREPARING
    # The policy does not end what was asked for.
    world.deliver(pull.later(1), "edited")
    world.report()
    assert "/preview by alice: A run of" in the_comment(pull)
    assert world.forge.reactions[0][1] in ("+1", "thumbsup")
    assert world.comment(pull, "/cancel").decision == "acted"
    run.refresh_from_db()
    assert run.status == Status.CANCELED
    assert world.comment(pull, "/retry").decision == "acted"
    assert Run.objects.unfinished().get().parent == run


def test_keep_keeps_the_preview(world, pull):
    before = Lease.objects.get().expires_at
    assert "kept until" in world.comment(pull, "/keep 8h").reason
    assert Lease.objects.get().expires_at > before
    for wrong, words in (("/keep soon", "30m, 8h or 2d"), ("/keep 90d", "72 h")):
        delivery = world.comment(pull, wrong)
        assert (delivery.decision, words in delivery.reason) == ("ignored", True)
    world.report()
    assert [reaction for _, reaction in world.forge.reactions] == ["+1", "-1", "-1"]
    assert "72 h" in the_comment(pull)


def test_a_command_is_refused_for_the_reason_that_the_buttons_have(world, pull):
    Run.objects.update(stop_status=Status.CANCELED)
    delivery = world.comment(pull, "/cancel")
    assert delivery.reason.endswith("/cancel by alice: The run is already being ended.")
    Lease.objects.update(state="ended", ended_at=timezone.now())
    assert world.comment(pull, "/keep 8h").reason.endswith(allowed_actions.NO_SLOT)
    reason = world.comment(pull, "/retry").reason
    assert reason.endswith("The run is preparing; only an ended run can be retried.")


def test_a_person_without_write_access_commands_nothing(world, pull):
    cache.clear()  # of the refusals that other tests had counted
    run = make_ready()
    delivery = world.comment(pull, "/cancel", login="mallory")
    assert (delivery.decision, "may not write" in delivery.reason) == ("ignored", True)
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY
    world.report()
    assert "mallory" not in the_comment(pull)
    entry = AuditEntry.objects.get()
    assert (entry.kind, entry.actor, entry.target) == ("refused", "mallory on github", str(run.pk))
    assert world.forge.reactions == [(world.forge.reactions[0][0], "-1")]


def test_ship_approves_the_named_commit_in_the_linked_users_name(world, pull, grace):
    run = make_ready()
    assert world.comment(pull, f"/ship {run.commit_sha[:10]}").decision == "acted"
    approval = Approval.objects.get()
    assert (approval.actor, approval.commit_sha) == ("grace", run.commit_sha)
    assert approval.reason == "/ship in pull request #12"
    entry = AuditEntry.objects.get()
    assert (entry.kind, entry.actor, entry.address) == ("change", "grace", "github")
    assert (entry.target, entry.reason) == (str(run.pk), "pull request #12")
    assert entry.detail.startswith(f"/ship: {run.commit_sha[:12]} is approved")
    run.refresh_from_db()
    assert run.status == Status.APPROVED


@pytest.mark.parametrize(
    ("argument", "words"),
    [("", "Name the commit"), ("0123", "Name the commit"), ("f" * 12, "look at it again")],
)
def test_ship_without_the_commit_that_was_seen_is_refused(world, pull, grace, argument, words):
    make_ready()
    assert words in world.comment(pull, f"/ship {argument}".strip()).reason
    assert not Approval.objects.exists()


def test_ship_is_refused_once_the_head_has_moved(world, pull, grace):
    run = make_ready()
    pull.later(1, sha=world.commit())
    assert "look at it again" in world.comment(pull, f"/ship {run.commit_sha[:12]}").reason
    assert not Approval.objects.exists()


@pytest.mark.parametrize("group", [None, "viewer"])
def test_ship_needs_a_linked_account_that_may_approve(world, pull, group):
    run = make_ready()
    if group is not None:
        user = UserFactory(groups=[group])
        LinkedAccount.objects.create(forge="github", login="alice", user=user)
    assert "linked account" in world.comment(pull, f"/ship {run.commit_sha[:12]}").reason
    assert not Approval.objects.exists()


def test_a_fork_is_not_started_by_a_command(world):
    pull = world.pull(is_fork=True, author="stranger")
    assert "an operator must allow" in world.comment(pull, "/preview").reason
    assert "operator must allow" in world.comment(pull, "/retry").reason
    assert "no run" in world.comment(pull, "/cancel").reason
    assert not Run.objects.exists()


def test_commands_need_a_token_and_an_open_pull_request(world):
    pull = world.pull(state="closed")
    assert "not open" in world.comment(pull, "/preview").reason
    world.configure(FORGE_TOKEN_FILE="")
    assert "FORGE_TOKEN_FILE" in world.comment(pull, "/preview").reason
    assert world.comment(pull, "Looks good").decision == "ignored"
    assert not PullRequest.objects.get().run


def test_only_a_superuser_links_accounts():
    address = reverse("admin:forges_linkedaccount_add")
    client = Client()
    client.force_login(UserFactory(groups=["operator"]))
    assert client.get(address).status_code == 403
    client.force_login(UserFactory(is_superuser=True))
    assert client.get(reverse("admin:forges_linkedaccount_changelist")).status_code == 200
    user = UserFactory()
    fields = {"forge": "github", "login": "alice", "user": user.pk}
    assert client.post(address, fields).status_code == 302
    assert "linked already" in client.post(address, {**fields, "login": "Alice"}).content.decode()


def test_ship_is_one_approval_of_those_that_are_needed(world, pull, grace, configure):
    configure(APPROVAL_REQUIRED_COUNT="2")
    run = make_ready()
    delivery = world.comment(pull, f"/ship {run.commit_sha[:10]}")
    assert "has this approval" in delivery.reason
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY


def test_the_author_ships_nothing_where_that_is_forbidden(world, pull, grace, configure):
    configure(APPROVAL_SELF="forbidden")
    run = make_ready()
    assert "APPROVAL_SELF" in world.comment(pull, f"/ship {run.commit_sha[:10]}").reason
    assert not Approval.objects.exists()
