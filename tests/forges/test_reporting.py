"""Statuses and the comment on the forge: the newest text, once, however often the sender dies."""

from datetime import timedelta

import pytest

from core.clock import get_database_time
from forges.adapters.github import GitHub
from forges.models import OutgoingMessage
from forges.reporting.announcements import COMMENT
from runs.engine.events import record_event
from runs.lifecycle import operations
from runs.models import Run
from runs.rules import Status
from slots.models import Lease
from tests.factories import StepFactory
from tests.forges.fake_forge import TOKEN
from tests.forges.kinds import GITHUB, OTHER_APIS

pytestmark = pytest.mark.django_db
PREVIEW, GATE, DEPLOY = "oroboros/preview", "oroboros/merge-gate", "oroboros/deploy"


READ_COMMENTS = "/repos/team/shop/issues/12/comments"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def pull(world):
    """A pull request with a run that is being prepared."""
    made = world.pull()
    world.deliver(made)
    return made


def move(status, **fields):
    """Move the run as its pipeline does, and return it."""
    run = Run.objects.get()
    Run.objects.filter(pk=run.pk).update(status=status, **fields)
    record_event(status, f"is {status} now", actor="worker", run=run)
    return Run.objects.get()


def make_ready():
    run = Run.objects.get()
    StepFactory(run=run, name="answer", generation=run.generation)
    return move(Status.PREVIEW_READY)


def expire_waits():
    OutgoingMessage.objects.update(due_at="2026-01-01T00:00Z", claim_expires_at=None)


def the_comment(pull):
    [text] = pull.comments.values()
    return text


def test_a_run_is_reported_from_its_beginning_to_its_deployment(world, pull):
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "pending"}
    assert "The preview is being prepared." in the_comment(pull)
    run = make_ready()
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "success"}
    assert f"http://{run.label}.preview1.localhost:" in the_comment(pull)
    assert f"/admin/runs/run/{run.pk}/change/" in the_comment(pull)
    move(Status.APPROVED, approved_at=get_database_time())
    world.report()
    assert world.forge.latest_statuses(pull.sha)[GATE] == "pending"
    move(Status.DEPLOYING)
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {
        PREVIEW: "success", GATE: "success", DEPLOY: "pending",
    }  # fmt: skip
    move(Status.MERGED, ended_at=get_database_time())
    pull.later(1, state="merged")
    world.report()
    assert world.forge.latest_statuses(pull.sha)[DEPLOY] == "success"
    assert len(pull.comments) == 1
    assert "The release is live." in the_comment(pull)


def test_nothing_is_sent_twice_while_nothing_happens(world, pull):
    world.report()
    sent = len(world.forge.requests)
    world.report()
    assert len(world.forge.requests) == sent


def test_a_failed_run_is_reported_with_code_cause_and_next_action(world, pull):
    run = Run.objects.get()
    StepFactory(run=run, name="build", status="failed")
    move(
        Status.FAILED,
        ended_at=get_database_time(),
        failure_code="BUILD_FAILED",
        failure_detail="npm run build ended with 1\nmore",
        next_action="Read the log of the step, fix the branch, push, and retry the run.",
    )
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "failure"}
    text = world.forge.statuses[-1][3]
    assert text == "BUILD_FAILED: npm run build ended with 1"
    comment = the_comment(pull)
    assert "`BUILD_FAILED`" in comment
    assert "Installing or building the application failed." in comment
    assert "fix the branch, push, and retry" in comment


@pytest.mark.parametrize("kind", ["gitea"])
def test_comments_without_pages_are_read_once(world, pull):
    pull.comments = {900: "of a person"}
    world.report()
    reads = [one for one in world.forge.requests if one[:2] == ("GET", READ_COMMENTS)]
    assert len(reads) == 1
    assert len(pull.comments) == 2


@OTHER_APIS
def test_the_other_forges_get_the_same(world, pull):
    world.report()
    make_ready()
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "success"}
    assert len(pull.comments) == 1
    assert "Open the preview" in the_comment(pull)


@pytest.mark.parametrize("kind", ["github", pytest.param("gitlab", marks=pytest.mark.full)])
def test_the_preview_and_production_are_deployments_on_the_forge(world, pull):
    world.configure(FORGE_DEPLOYMENTS="true")
    preview, production = "preview/pr-12", "production"

    def states():
        world.report()
        return {
            (one["environment"], one["sha"]): one["state"]
            for one in world.forge.deployments.values()
        }

    running = "in_progress" if world.forge.kind == "github" else "running"
    assert states() == {(preview, pull.sha): running}
    run = make_ready()
    assert states() == {(preview, pull.sha): "success"}
    url = f"http://{run.label}.preview1.localhost:"
    served = [*world.forge.deployments.values(), *world.forge.environments.values()]
    assert any((one.get("url") or one.get("external_url") or "").startswith(url) for one in served)
    move(Status.DEPLOYING, approved_at=get_database_time(), candidate_sha="c" * 40, pushed=True)
    assert states()[production, "c" * 40] == running
    move(Status.MERGED, ended_at=get_database_time())
    Lease.objects.update(state="ended")
    pull.later(1, state="merged")
    assert states()[production, "c" * 40] == "success"
    if world.forge.kind == "github":
        assert states()[preview, pull.sha] == "inactive"
    else:
        assert world.forge.environments[preview]["state"] == "stopped"
    assert len(world.forge.deployments) == 2
    assert not OutgoingMessage.objects.waiting().exists()


def test_a_commit_that_waits_for_an_operator_is_reported(world):
    pull = world.pull(is_fork=True)
    world.deliver(pull)
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "pending"}
    assert "an operator must allow the commit" in the_comment(pull)


def test_a_pull_request_that_the_policy_leaves_out_hears_nothing(world):
    pull = world.pull(labels=[])
    world.deliver(pull)
    world.report()
    assert not pull.comments
    assert not world.forge.statuses


def test_a_process_that_dies_after_commenting_comments_no_second_time(world, pull, monkeypatch):
    create = GitHub.create_comment

    def create_and_die(self, number, text):
        create(self, number, text)
        raise Killed

    monkeypatch.setattr(GitHub, "create_comment", create_and_die)
    with pytest.raises(Killed):
        for _ in range(3):
            world.report()
    monkeypatch.undo()
    assert len(pull.comments) == 1
    pull.comments = {900: "<!-- oroboros 0123 --> not ours", **pull.comments}
    make_ready()
    world.report()
    assert len(pull.comments) == 2
    assert "The preview is ready." in list(pull.comments.values())[-1]


def test_a_process_that_dies_after_a_status_sends_the_newest_one_next(world, pull, monkeypatch):
    set_status = GitHub.set_status

    def set_and_die(self, sha, status):
        set_status(self, sha, status)
        raise Killed

    monkeypatch.setattr(GitHub, "set_status", set_and_die)
    with pytest.raises(Killed):
        for _ in range(3):
            world.report()
    monkeypatch.undo()
    make_ready()
    expire_waits()
    world.report()
    assert world.forge.statuses[-1][2] == "success"
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "success"}


def test_a_comment_that_a_person_deleted_is_written_again_once(world, pull):
    world.report()
    pull.comments.clear()
    make_ready()
    world.report()
    world.report()
    assert len(pull.comments) == 1


@GITHUB
def test_while_the_forge_is_down_nothing_is_lost_and_the_newest_is_sent_after(world, pull):
    world.forge.is_down = True
    for _ in range(8):
        world.report()
        expire_waits()
    make_ready()
    world.report()
    failed = OutgoingMessage.objects.waiting()
    assert failed.count() == 2
    assert any("did not answer" in message.error for message in failed)
    world.forge.is_down = False
    expire_waits()
    world.report()
    assert [state for *_, state, _, _ in world.forge.statuses] == ["success"]
    assert len(pull.comments) == 1
    assert not OutgoingMessage.objects.waiting().exists()


@GITHUB
def test_a_limit_is_waited_for_by_all_messages(world, pull):
    world.forge.failures = [(429, {"Retry-After": "300"})]
    world.report()
    sent = len(world.forge.requests)
    at = get_database_time()
    for message in OutgoingMessage.objects.all():
        assert timedelta(seconds=200) < message.due_at - at < timedelta(seconds=400)
    make_ready()
    world.report()
    assert len(world.forge.requests) == sent


@GITHUB
def test_a_revoked_token_is_tried_again_until_another_is_there(world, pull, tmp_path):
    world.forge.token = "another"
    world.report()
    assert any("401" in message.error for message in OutgoingMessage.objects.waiting())
    (tmp_path / "token").write_text("another")
    expire_waits()
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "pending"}
    assert TOKEN not in str(OutgoingMessage.objects.values())


def test_what_the_forge_refuses_for_ever_is_given_up_with_its_words(world, pull):
    world.forge.failures = [(422, {}), (422, {})]
    world.report()
    message = OutgoingMessage.objects.first()
    assert (message.state, "422" in message.error) == ("given up", True)
    # The next text is sent, and an operator may send this one again.
    assert OutgoingMessage.objects.send_again(message.pk)
    world.report()
    message.refresh_from_db()
    assert message.state == "sent"
    assert not OutgoingMessage.objects.send_again(message.pk)


def test_a_message_is_given_up_after_a_day(world, pull):
    world.forge.is_down = True
    world.report()
    OutgoingMessage.objects.update(wanted_at=get_database_time() - timedelta(hours=25))
    expire_waits()
    for _ in range(2):
        world.report()
        OutgoingMessage.objects.filter(given_up_at=None).update(due_at="2026-01-01T00:00Z")
    assert {message.state for message in OutgoingMessage.objects.all()} == {"given up"}


def test_a_status_that_waits_is_superseded_by_that_of_a_newer_commit(world, pull):
    world.forge.is_down = True
    world.report()
    world.forge.is_down = False
    Run.objects.update(status=Status.PREVIEW_READY)
    sha = world.commit()
    world.deliver(pull.later(1, sha=sha), "synchronize")
    expire_waits()
    world.report()
    assert {one for one, *_ in world.forge.statuses} == {sha}
    states = {m.target: m.state for m in OutgoingMessage.objects.all()}
    assert states[f"status:{world.head('HEAD~1')}:{PREVIEW}"] == "superseded"
    assert states[COMMENT] == "sent"


def test_a_run_that_a_person_retries_is_reported_without_a_delivery(world, pull):
    operations.cancel(Run.objects.get(), actor="bob")
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "error"}
    operations.retry(Run.objects.get(), actor="bob")
    world.report()
    assert world.forge.latest_statuses(pull.sha) == {PREVIEW: "pending"}


def test_without_a_token_nothing_is_reported(world):
    world.configure(FORGE_TOKEN_FILE="")
    body = world.body(world.pull(), "opened")
    body["pull_request"]["author_association"] = "OWNER"
    world.send("pull_request", body)
    world.report()
    assert not OutgoingMessage.objects.exists()
    assert not world.forge.requests
