"""What people do to a pull request, and its effect on the run; limits, and external checks."""

import pytest

from core.clock import get_database_time
from forges import reconciler
from forges.adapters.forge import CheckState
from forges.models import PullRequest
from forges.rules import find_reason_to_wait
from forges.shipping import required_checks
from host.errors import Refused
from runs import merge_queue
from runs.lifecycle import branch_watch, operations
from runs.models import Run
from runs.repository import check_settings
from runs.rules import Status
from tests.factories import RunFactory
from tests.forges import payloads
from tests.forges.kinds import EACH_API
from tests.forges.test_reporting import make_ready

pytestmark = pytest.mark.django_db


def the_run():
    return Run.objects.get()


def statuses():
    return list(Run.objects.order_by("created_at").values_list("status", flat=True))


def test_a_retargeted_pull_request_ends_its_run_and_gets_one_when_it_is_back(world):
    pull = world.pull()
    world.deliver(pull)
    assert "runs are merged into main" in world.deliver(pull.later(1, base="next"), "edited").reason
    assert statuses() == [Status.CANCELED]
    world.deliver(pull.later(2, base="main"), "reopened")
    assert statuses() == [Status.CANCELED, Status.PREPARING]


def test_a_draft_gets_no_preview_of_the_policy_all_and_ends_one(world):
    world.configure(PREVIEW_PULL_REQUESTS="all")
    pull = world.pull(labels=[])
    world.deliver(pull)
    assert "draft" in world.deliver(pull.later(1, is_draft=True), "converted_to_draft").reason
    assert statuses() == [Status.CANCELED]
    world.deliver(pull.later(2, is_draft=False), "ready_for_review")
    assert statuses() == [Status.CANCELED, Status.PREPARING]


def test_a_new_title_changes_nothing_unless_it_says_skip(world):
    pull = world.pull()
    world.deliver(pull)
    assert world.deliver(pull.later(1, title="Another"), "edited").decision == "ignored"
    assert (the_run().title, the_run().status) == ("#12 Add reactions", Status.PREPARING)
    world.deliver(pull.later(2, title="Another [Skip Preview]"), "edited")
    assert the_run().status == Status.CANCELED


def test_a_forced_push_moves_the_run_as_any_other_does(world):
    pull = world.pull()
    world.deliver(pull)
    Run.objects.update(status=Status.PREVIEW_READY)
    world.remote("commit", "-q", "--amend", "-m", "rewritten")
    sha = world.head()
    assert world.deliver(pull.later(1, sha=sha), "synchronize").decision == "acted"
    assert (the_run().commit_sha, the_run().generation) == (sha, 2)


def test_a_branch_that_is_deleted_ends_the_run(world):
    pull = world.pull()
    world.deliver(pull)
    Run.objects.update(status=Status.PREVIEW_READY)
    branch_watch.watch_branches()  # as each minute: only a branch that was seen can be missed
    world.remote("checkout", "-q", "main")
    world.remote("branch", "-q", "-D", "feature/reactions")
    world.send("push", payloads.github_push("feature/reactions", "0" * 40))
    run = the_run()
    assert Status.CANCELED in (run.status, run.stop_status)


def test_an_author_has_as_many_previews_at_once_as_the_setting_says(world):
    world.configure(PREVIEW_PER_AUTHOR="1")
    world.deliver(world.pull())
    world.remote("checkout", "-q", "-b", "other")
    second = world.pull(number=13, branch="other", sha=world.commit())
    assert "alice has 1 previews already" in world.deliver(second).reason
    world.remote("checkout", "-q", "-b", "third")
    world.forge.writers.add("bob")
    third = world.pull(number=14, branch="third", sha=world.commit(), author="bob")
    assert world.deliver(third).decision == "acted"
    operations.cancel(Run.objects.get(branch="feature/reactions"), actor="alice")
    reconciler.reconcile(world.config)
    world.process()
    open_runs = Run.objects.unfinished().values_list("branch", flat=True)
    assert sorted(open_runs) == ["other", "third"]


@EACH_API
def test_a_preview_waits_for_the_required_checks(world):
    required = "build / test, lint" if world.forge.kind == "github" else "build / test"
    world.configure(PREVIEW_REQUIRED_CHECKS=required)
    pull = world.pull()
    assert "build / test (not there)" in world.deliver(pull).reason
    # Of more checks than a page has.
    world.forge.checks = {
        **dict.fromkeys(map(str, range(150)), "success"),
        "build / test": "pending",
    }
    assert "(pending)" in world.deliver(pull.later(1), "edited").reason
    assert not Run.objects.exists()
    world.forge.checks["build / test"] = "success"
    delivery = world.send(*payloads.checks(world.forge.kind, pull.sha))
    assert delivery.decision == "acted", delivery.reason
    assert the_run().status == Status.PREPARING
    assert not PullRequest.objects.get().is_requested
    again = world.send(*payloads.checks(world.forge.kind, pull.sha))
    assert "Nothing can start" in again.reason


def test_a_check_that_lets_a_run_ship_also_starts_the_preview_that_waits(world):
    world.configure(SHIP_REQUIRED_CHECKS="unit", PREVIEW_REQUIRED_CHECKS="unit")
    pull = world.pull()
    assert "It waits" in world.deliver(pull).reason
    RunFactory(
        status=Status.APPROVED,
        branch="copy",
        commit_sha=pull.sha,
        approved_at=get_database_time(),
        awaited_checks="It waits.",
    )
    world.forge.checks["unit"] = "success"
    delivery = world.send(*payloads.checks(world.forge.kind, pull.sha))
    assert "its run may ship" in delivery.reason
    assert Run.objects.filter(branch=pull.branch, status=Status.PREPARING).exists()


@pytest.mark.parametrize("kind", ["github", pytest.param("gitlab", marks=pytest.mark.full)])
def test_an_approved_run_ships_once_the_required_checks_have_succeeded(world):
    world.configure(SHIP_REQUIRED_CHECKS="build / test")
    pull = world.pull()
    world.deliver(pull)
    run = make_ready()
    operations.approve(run, actor="grace")
    assert merge_queue.get_next_run(world.config) is None
    required_checks.check_waiting(world.config)
    entry = merge_queue.read_merge_queue(world.config)[run.pk]
    assert entry.describe_position().endswith("SHIP_REQUIRED_CHECKS: build / test (not there).")
    world.forge.is_down = True
    required_checks.check_waiting(world.config)
    assert "did not answer" in the_run().awaited_checks
    world.forge.is_down = False
    # Another approved run does not wait behind it.
    other = RunFactory(status=Status.APPROVED, approved_at=get_database_time())
    assert merge_queue.get_next_run(world.config) == other
    assert merge_queue.read_merge_queue(world.config)[other.pk].behind is None
    other.delete()
    world.forge.checks["build / test"] = "success"
    delivery = world.send(*payloads.checks(world.forge.kind, pull.sha))
    assert "its run may ship" in delivery.reason
    assert merge_queue.get_next_run(world.config) == the_run()


def test_runs_that_wait_for_a_check_ship_once_the_setting_is_removed(world):
    world.configure(SHIP_REQUIRED_CHECKS="lint")
    world.deliver(world.pull())
    operations.approve(make_ready(), actor="grace")
    world.configure(SHIP_REQUIRED_CHECKS="", FORGE="")
    assert required_checks.check_waiting(world.config) == 1
    world.configure(SHIP_REQUIRED_CHECKS="lint")
    with pytest.raises(Refused, match="SHIP_REQUIRED_CHECKS need FORGE"):
        check_settings(world.config)


def test_the_reason_to_wait_names_each_missing_check():
    checks = {"a": CheckState.SUCCESS, "b": CheckState.FAILURE}
    assert find_reason_to_wait("ann", 3, 0, ["a"], checks) == ""
    assert find_reason_to_wait("ann", 1, 2, [], {}) == ""
    reason = find_reason_to_wait("ann", 0, 1, ["a", "b", "c"], checks)
    assert reason.endswith(": b (failure), c (not there).")
