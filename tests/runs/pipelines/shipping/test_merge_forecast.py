"""What a merge gives is on the run before a person approves it."""

import pytest
from django.conf import settings

from host.errors import Refused
from runs import allowed_actions, presenters
from runs.approval_facts import read_approval_facts
from runs.lifecycle import branch_watch, execution, operations
from runs.models import Run
from runs.pipelines.merge_forecast import MergeForecast, MergeOutcome, describe_forecast
from runs.repository import open_repository
from web.permissions import GROUPS, ActionState

HEAD = "c" * 40


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (MergeOutcome.MERGES, ""),
        (MergeOutcome.CONFLICTS, "conflicts in a b, x<LF>y"),
        (MergeOutcome.CONTAINED, "contains this commit"),
        (MergeOutcome.UNCHANGED, "squash merge"),
        (MergeOutcome.UNRELATED, "shares no history"),
    ],
)
def test_each_outcome_but_a_merge_is_described(outcome, words):
    text = describe_forecast(MergeForecast(outcome, "b" * 40, ["a b", "x\ny"]), "main", HEAD)
    assert words in text
    assert bool(text) == (outcome != MergeOutcome.MERGES)


def test_a_commit_that_was_reverted_since_is_reported_before_approval(small, ready_small):
    """A merge was taken back and the branch goes on: another merge ships the rest only."""
    number = small.commits()
    small.commit(f"reverted/{number}", {"kept.txt": "first"})
    small.git("checkout", "-q", "main", cwd=small.clone)
    small.git("merge", "-q", "--ff-only", "origin/main", cwd=small.clone)
    small.git("merge", "-q", "--no-ff", f"reverted/{number}", cwd=small.clone)
    merge = small.git("rev-parse", "HEAD", cwd=small.clone).strip()
    small.git("revert", "-m", "1", "--no-edit", merge, cwd=small.clone)
    small.git("push", "-q", "origin", "main", cwd=small.clone)
    small.git("checkout", "-q", f"reverted/{number}", cwd=small.clone)
    small.commit(f"reverted/{number}", {"other.txt": "second"})
    run = operations.create_run(title="goes on", branch=f"reverted/{number}", actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    [note] = run.list_notes()
    assert f"has reverted {merge[:12]}," in note and "revert the revert" in note
    operations.approve(run, actor="grace")  # it may be meant


def test_the_forecast_is_of_the_present_commit_and_follows_the_target_branch(small, ready_small):
    run = ready_small("facts/one", {"facts.txt": "ours"})
    assert read_approval_facts(run).merge == "clean"
    assert read_approval_facts(run).changed_parts == ("backend",)
    small.git("checkout", "-q", "main", cwd=small.clone)
    moved = small.commit("main", {"facts.txt": "theirs"})
    branch_watch.watch_branches()
    run.refresh_from_db()
    facts = read_approval_facts(run)
    assert (facts.merge, facts.base_sha) == ("conflicts in facts.txt", moved)
    assert [note for note in run.list_notes() if "conflicts in facts.txt" in note]
    run.commit_sha = HEAD  # a newer commit
    assert read_approval_facts(run).merge == "not known yet"


def test_a_squash_merge_elsewhere_is_reported_before_approval_and_not_shipped(small, ready_small):
    run = ready_small("squash/one", {"squash.txt": "squashed"})
    assert run.list_notes() == []
    small.git("checkout", "-q", "main", cwd=small.clone)
    small.git("merge", "-q", "--ff-only", "origin/main", cwd=small.clone)
    small.git("merge", "-q", "--squash", run.branch, cwd=small.clone)
    before = small.commit("main", {}, message="squashed (#12)")
    # At once: the branches are watched each minute only.
    with pytest.raises(Refused, match="squash merge") as refused:
        operations.approve(run, actor="grace")
    assert (refused.value.code, refused.value.status) == ("nothing_to_ship", 409)
    shown = presenters.select_runs().get(pk=run.pk)
    facts = allowed_actions.read_facts(shown, owner=None)
    assert allowed_actions.decide_action("approve", facts, GROUPS["approver"]) == ActionState(
        False, refused.value.detail
    )
    run.refresh_from_db()
    [note] = run.list_notes()
    assert "squash merge" in note
    assert run.events.filter(kind="note").get().text == note
    branch_watch.watch_branches()
    assert run.events.filter(kind="note").count() == 1
    assert run.status == "preview_ready"
    assert small.remote_main() == before


@pytest.mark.full
def test_a_squash_merge_after_the_approval_is_not_shipped(small, ready_small):
    run = ready_small("squash/late", {"late-squash.txt": "squashed"})
    operations.approve(run, actor="grace")
    small.git("checkout", "-q", "main", cwd=small.clone)
    small.git("merge", "-q", "--ff-only", "origin/main", cwd=small.clone)
    small.git("merge", "-q", "--squash", run.branch, cwd=small.clone)
    before = small.commit("main", {}, message="squashed (#13)")
    execution.execute_run(run.pk)
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.failure_code) == ("failed", "NOTHING_TO_SHIP")
    assert "squash merge" in run.failure_detail
    assert small.remote_main() == before


def test_a_conflict_and_another_history_are_reported_by_the_preview(small, ready_small):
    small.commit("late/one", {"late.txt": "theirs"})
    small.commit("main", {"late.txt": "ours"})
    small.git("checkout", "-q", "late/one", cwd=small.clone)
    run = operations.create_run(title="late", branch="late/one", actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    [note] = run.list_notes()
    assert "conflicts in late.txt" in note
    facts = read_approval_facts(run)
    main = open_repository(settings.OROBOROS).find_branch_head("main")
    assert (facts.merge, facts.base_sha) == ("conflicts in late.txt", main)
    tree = small.git("rev-parse", "HEAD^{tree}", cwd=small.clone)
    alien = small.git("commit-tree", "-m", "all anew", tree, cwd=small.clone)
    small.git("push", "-q", "origin", f"{alien}:refs/heads/alien", cwd=small.clone)
    run = operations.create_run(title="alien", branch="alien", actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    [note] = run.list_notes()
    assert "shares no history with main" in note and "git restore --source=" in note
    with pytest.raises(Refused) as refused:
        operations.approve(run, actor="grace")
    assert (refused.value.code, refused.value.status) == ("unrelated_history", 409)
    assert open_repository(settings.OROBOROS).find_branch_head("alien") == alien
