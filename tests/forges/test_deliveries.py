"""What deliveries lead to: runs that start, follow and end; and the reason of each decision."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from core.clock import get_database_time
from forges import reconciler
from forges.models import Delivery, OutgoingMessage, PullRequest
from runs.lifecycle import operations
from runs.models import Run
from runs.rules import Status
from tests.factories import RunFactory
from tests.forges import payloads
from tests.forges.kinds import EACH_FORGE, OTHER_APIS

pytestmark = pytest.mark.django_db


def the_run():
    return Run.objects.get()


@EACH_FORGE
def test_an_opened_pull_request_gets_one_run_of_its_branch(world):
    pull = world.pull()
    delivery = world.deliver(pull)
    run = the_run()
    assert (delivery.decision, delivery.run) == ("acted", run), delivery.reason
    assert (run.branch, run.commit_sha) == ("feature/reactions", world.head())
    assert (run.created_by, run.title) == ("pull request #12", "#12 Add reactions")
    assert run.status == Status.PREPARING
    assert world.deliver(pull.later(1), "synchronize").decision == "ignored"
    assert the_run() == run


def test_a_label_asks_for_a_preview_and_its_removal_ends_it(world):
    pull = world.pull(labels=[])
    assert "does not have the label" in world.deliver(pull).reason
    assert not Run.objects.exists()
    world.deliver(pull.later(1, labels=["preview"]), "labeled")
    assert the_run().status == Status.PREPARING
    world.deliver(pull.later(2, labels=[]), "unlabeled")
    assert the_run().status == Status.CANCELED


def test_a_push_moves_the_same_run_to_its_head(world):
    pull = world.pull()
    world.deliver(pull)
    Run.objects.update(status=Status.PREVIEW_READY)
    sha = world.commit()
    delivery = world.send("push", payloads.github_push("feature/reactions", sha))
    assert delivery.decision == "acted", delivery.reason
    assert (the_run().commit_sha, the_run().generation) == (sha, 2)
    # The event about the pull request comes after the push, or instead of it.
    Run.objects.update(status=Status.PREVIEW_READY)
    sha = world.commit()
    assert world.deliver(pull.later(1, sha=sha), "synchronize").decision == "acted"
    assert (the_run().commit_sha, the_run().generation) == (sha, 3)


def test_a_push_to_a_branch_without_a_run_leads_to_nothing(world):
    delivery = world.send("push", payloads.github_push("main", world.head("main")))
    assert delivery.decision == "ignored"
    assert "No open run" in delivery.reason


def test_a_closed_pull_request_ends_its_run(world):
    pull = world.pull()
    world.deliver(pull)
    delivery = world.deliver(pull.later(1, state="closed"), "closed")
    assert delivery.decision == "acted"
    run = the_run()
    assert (run.status, run.failure_detail) == (Status.CANCELED, "The pull request was closed.")
    # Reopened, it gets another one.
    world.deliver(pull.later(2, state="open"), "reopened")
    assert Run.objects.count() == 2


def test_a_pull_request_that_was_merged_elsewhere_ends_its_run_with_that_code(world):
    pull = world.pull()
    world.deliver(pull)
    world.deliver(pull.later(1, state="merged"), "closed")
    run = the_run()
    assert (run.status, run.failure_code) == (Status.CANCELED, "MERGED_ELSEWHERE")
    assert "in the target branch" in run.next_action


def test_a_run_that_ships_is_finished_although_the_forge_says_merged(world):
    """Pushing the target branch makes the forge say so."""
    run = RunFactory(status=Status.MERGED, branch="feature/reactions", commit_sha=world.head())
    PullRequest.objects.all().delete()
    pull = world.pull(state="merged")
    assert world.deliver(pull, "closed").decision == "ignored"
    run.refresh_from_db()
    assert run.status == Status.MERGED


def test_an_outside_contributor_runs_nothing_until_an_operator_allows_that_commit(world):
    world.forge.writers.clear()
    pull = world.pull()
    delivery = world.deliver(pull)
    assert "an operator must allow" in delivery.reason
    assert not Run.objects.exists()
    row = PullRequest.objects.get()
    assert not row.allow("f" * 40, by="olga")
    assert row.allow(pull.sha, by="olga")
    world.process()
    run = the_run()
    assert (run.commit_sha, run.branch) == (pull.sha, "")
    # The next commit needs to be allowed again, and the run does not follow to it.
    sha = world.commit()
    assert "an operator must allow" in world.deliver(pull.later(1, sha=sha), "synchronize").reason
    assert the_run().commit_sha == pull.sha != sha or the_run().generation == 1


def test_a_fork_runs_the_allowed_commit_from_the_pull_requests_ref(world):
    """Its head is no branch of the repository; its branch has a name of one."""
    world.remote("checkout", "-q", "--detach")
    sha = world.commit("from a fork")
    world.remote("update-ref", "refs/pull/12/head", sha)
    world.remote("checkout", "-q", "feature/reactions")
    pull = world.pull(is_fork=True, sha=sha)
    assert "of a fork" in world.deliver(pull).reason
    assert not Run.objects.exists()
    assert PullRequest.objects.get().allow(sha, by="olga")
    world.process()
    assert (the_run().commit_sha, the_run().branch) == (sha, "")
    world.deliver(pull.later(1, state="closed"), "closed")
    assert the_run().status == Status.CANCELED


def test_a_run_that_a_person_made_for_the_branch_is_the_pull_requests(world):
    run = operations.create_run(title="By hand", actor="bob", branch="feature/reactions")
    pull = world.pull()
    assert world.deliver(pull).run == run
    world.deliver(pull.later(1, labels=[]), "unlabeled")
    run.refresh_from_db()
    assert run.status == Status.PREPARING
    world.deliver(pull.later(2, state="closed"), "closed")
    run.refresh_from_db()
    assert run.status == Status.CANCELED


def test_a_retry_by_a_person_is_the_pull_requests_run(world):
    pull = world.pull()
    world.deliver(pull)
    operations.cancel(the_run(), actor="bob")
    child = operations.retry(the_run(), actor="bob")
    assert world.deliver(pull.later(1), "edited").run == child


def test_events_out_of_order_are_decided_by_what_the_forge_says_now(world):
    pull = world.pull()
    opened = world.body(pull, "opened")
    pull.later(5, state="closed")
    delivery = world.send("pull_request", opened)
    assert "was closed" in delivery.reason
    assert not Run.objects.exists()


def test_without_a_token_an_event_that_came_late_is_ignored(world):
    world.configure(FORGE_TOKEN_FILE="", PREVIEW_PULL_REQUESTS="all")
    pull = world.pull()
    opened = world.body(pull, "opened")
    world.deliver(pull.later(5, state="closed"), "closed")
    delivery = world.send("pull_request", opened)
    assert (delivery.decision, "out of order" in delivery.reason) == ("ignored", True)
    assert not world.forge.requests


def test_without_a_token_only_the_owner_is_known_to_have_write_access(world):
    world.configure(FORGE_TOKEN_FILE="")
    pull = world.pull()
    assert "operator must allow" in world.deliver(pull).reason
    body = world.body(pull.later(1), "reopened")
    body["pull_request"]["author_association"] = "OWNER"
    assert world.send("pull_request", body).decision == "acted"


@pytest.mark.parametrize(
    "failures",
    [None, [(503, {})] * 2, [(429, {"Retry-After": "3600"})] * 2, [(401, {})] * 2],
    ids=["down", "busy", "limit", "token"],
)
def test_a_delivery_is_decided_once_the_forge_answers(world, failures):
    pull = world.pull()
    world.forge.is_down, world.forge.failures = failures is None, failures or []
    opened = world.deliver(pull)
    assert (opened.decision, opened.failures) == ("queued", 1)
    assert "It is tried again" in opened.reason
    world.forge.is_down, world.forge.failures = False, []
    Delivery.objects.update(due_at=get_database_time())
    world.process()
    world.process()
    assert Delivery.objects.get().decision == "acted"
    assert the_run().branch == "feature/reactions"


def test_a_command_outlives_an_hour_without_the_forge(world):
    pull = world.pull()
    world.deliver(pull)
    world.forge.is_down = True
    command = world.comment(pull, "/cancel")
    for _ in range(12):  # of the waits that make up an hour
        Delivery.objects.update(due_at=get_database_time())
        world.process()
    command.refresh_from_db()
    assert (command.decision, command.failures) == ("queued", 13)
    wait = command.due_at - get_database_time()
    assert timedelta(minutes=9) < wait <= timedelta(minutes=10)
    world.process()  # not before its time
    assert the_run().status == Status.PREPARING
    world.forge.is_down = False
    assert command.repeat()  # an operator need not wait
    world.process()
    world.process()
    assert Delivery.objects.filter(decision="acted").count() == 2
    assert the_run().status == Status.CANCELED


def test_a_delivery_is_given_up_after_a_day_without_the_forge(world):
    world.forge.is_down = True
    delivery = world.deliver(world.pull())
    Delivery.objects.update(failures=150, due_at=None)
    world.process()
    delivery.refresh_from_db()
    assert (delivery.decision, "did not answer" in delivery.reason) == ("failed", True)


def test_a_renamed_repository_loses_nothing(world):
    pull = world.pull()
    world.deliver(pull)
    world.report()
    body = world.body(pull.later(1), "edited")
    body["repository"]["full_name"] = "team/store"
    assert "FORGE_REPOSITORY is team/shop" in world.send("pull_request", body).reason
    world.forge.failures = [(301, {"Location": "/repositories/1"})]
    operations.cancel(the_run(), actor="bob")
    world.report()
    waiting = OutgoingMessage.objects.waiting()
    assert waiting.count() == 2
    assert any("correct FORGE_REPOSITORY" in one.error for one in waiting)
    # Corrected: the comment is found again, and nothing of the old name is sent.
    world.forge.repository = "team/store"
    world.configure(FORGE_REPOSITORY="team/store")
    operations.retry(the_run(), actor="bob")
    reconciler.reconcile(world.config)
    world.process()
    world.report()
    assert PullRequest.objects.get(repository="team/store").run == Run.objects.unfinished().get()
    assert len(pull.comments) == 1
    assert "The preview is being prepared." in next(iter(pull.comments.values()))
    assert not OutgoingMessage.objects.of_repository("github", "team/store").waiting().exists()


def test_deliver_again_decides_again(world):
    pull = world.pull()
    world.forge.failures = [(422, {})]
    delivery = world.deliver(pull)
    assert delivery.repeat()
    assert not delivery.repeat()
    world.process()
    delivery.refresh_from_db()
    assert (delivery.decision, delivery.run) == ("acted", the_run())


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"action": 3}', b'{"pull_request": {}}'])
def test_a_signed_body_that_is_no_delivery_fails_with_a_reason(world, body):
    _, headers = payloads.sign("github", "pull_request", {}, "one")
    digest = payloads.hmac.new(payloads.SECRET.encode(), body, payloads.hashlib.sha256).hexdigest()
    headers["X-Hub-Signature-256"] = f"sha256={digest}"
    assert world.post_raw(body, headers).status_code == 202
    world.process()
    delivery = Delivery.objects.get()
    assert (delivery.decision, delivery.reason != "") == ("failed", True)


def test_a_delivery_that_is_sent_as_a_form_is_read(world):
    """GitHub's webhooks have that content type until a person changes it."""
    body = urlencode({"payload": payloads.json.dumps(payloads.github_ping())}).encode()
    digest = payloads.hmac.new(payloads.SECRET.encode(), body, payloads.hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": "one",
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    world.post_raw(body, headers, "application/x-www-form-urlencoded")
    world.process()
    assert "tested the webhook" in Delivery.objects.get().reason


def test_another_repository_is_ignored(world):
    body = world.body(world.pull(), "opened")
    body["repository"]["full_name"] = "team/other"
    assert "FORGE_REPOSITORY is team/shop" in world.send("pull_request", body).reason


@pytest.mark.parametrize(("deaths", "is_given_up"), [(1, False), (2, False), (3, True)])
def test_a_delivery_whose_worker_keeps_dying_is_given_up(world, deaths, is_given_up):
    world.post("pull_request", world.body(world.pull(), "opened"))
    Delivery.objects.update(attempts=deaths)
    world.process()
    delivery = Delivery.objects.get()
    assert (delivery.decision == "failed") is is_given_up
    assert ("worker died" in delivery.reason) is is_given_up


def test_the_reconciler_closes_and_opens_what_lost_deliveries_left(world):
    pull = world.pull()
    reconciler.reconcile(world.config)
    world.process()
    assert the_run().status == Status.PREPARING
    pull.later(1, state="closed")
    reconciler.reconcile(world.config)
    world.process()
    assert the_run().status == Status.CANCELED
    # One that the forge does not know any more, as after a transfer.
    other = world.pull(number=13)
    reconciler.reconcile(world.config)
    world.process()
    del world.forge.pulls[other.number]
    reconciler.reconcile(world.config)
    world.process()
    assert not Run.objects.unfinished().exists()


def test_old_deliveries_are_removed(world):
    world.post("ping", payloads.github_ping())
    Delivery.objects.update(received_at="2026-01-01T00:00Z")
    reconciler.reconcile(world.config)
    assert not Delivery.objects.exists()


@OTHER_APIS
def test_the_other_forges_lead_to_the_same(world):
    pull = world.pull(labels=[], author="alice")
    assert "does not have the label" in world.deliver(pull).reason
    label = "update" if world.forge.kind == "gitlab" else "label_updated"
    assert world.deliver(pull.later(1, labels=["preview"]), label).decision == "acted"
    world.deliver(pull.later(2, state="closed"), "closed")
    assert the_run().status == Status.CANCELED
    world.deliver(pull.later(3, state="open"), "reopened")
    assert Run.objects.count() == 2
    world.deliver(pull.later(4, state="merged"), "closed")
    assert Run.objects.filter(failure_code="MERGED_ELSEWHERE").count() == 1
    # A fork of one who may write, and one who may not.
    assert "of a fork" in world.deliver(world.pull(number=13, is_fork=True)).reason
    world.forge.writers.clear()
    assert "without write access" in world.deliver(world.pull(number=14)).reason


def test_paths_leave_out_pull_requests_without_the_label(world, tmp_path):
    world.configure(PREVIEW_PULL_REQUESTS="all", PREVIEW_PATHS="frontend")
    folder = tmp_path / "remote" / "docs"
    folder.mkdir()
    (folder / "page.md").write_text("x")
    world.remote("add", "-A")
    pull = world.pull(labels=[], sha=world.commit("docs"))
    assert "nothing in PREVIEW_PATHS: frontend" in world.deliver(pull).reason
    world.configure(PREVIEW_PATHS="frontend docs/*.md")
    assert world.deliver(pull.later(1), "edited").decision == "acted"
