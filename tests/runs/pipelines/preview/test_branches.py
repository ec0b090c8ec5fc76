"""What becomes of runs whose branch is deleted at the remote, and of a remote that falls silent."""

import pytest

from host.errors import Refused
from runs.lifecycle import branch_watch, operations
from runs.models import Event, Run
from slots.models import Lease
from slots.rules import LeaseState


def delete(place, branch):
    place.git("push", "-q", "origin", "--delete", branch, cwd=place.clone)


def watched(*runs):
    """Watch the branches, then do what the worker is rung for; returns the runs as they are."""
    branch_watch.watch_branches()
    for run in runs:
        operations.carry(run.pk)
    return [Run.objects.get(pk=run.pk) for run in runs]


def test_a_preview_ends_when_its_branch_is_deleted_and_an_approved_run_ships_on(place):
    ready = place.preview("feature/ready", {"README.md": "ready"})
    approved = place.preview("feature/approved", {"README.md": "approved"})
    place.commit("feature/waits", {"README.md": "waits"})
    _, waits = [
        operations.create_run(title=title, branch="feature/waits", actor="ada")
        for title in ("has the last slot", "waits")
    ]
    assert waits.status == "queued"
    branch_watch.watch_branches()
    operations.approve(approved, actor="grace")
    for branch in ("feature/ready", "feature/approved", "feature/waits"):
        delete(place, branch)

    ended = watched(ready, waits)
    for run in ended:
        assert run.status == "canceled"
        assert f"no branch {run.branch} any more" in run.failure_detail
        assert Lease.objects.get(run=run).state == LeaseState.ENDED
    approved.refresh_from_db()
    assert (approved.status, approved.stop_status) == ("approved", "")
    again = operations.retry(ended[0], actor="ada")
    assert again.commit_sha == ready.commit_sha


def test_a_run_of_a_commit_whose_branch_was_never_there_goes_on(place):
    commit = place.commit("feature/known", {"README.md": "known"})
    run = operations.create_run(title="named", branch="made/up", commit=commit, actor="ada")
    operations.carry(run.pk)
    [once] = watched(run)
    [twice] = watched(run)
    assert (once.status, twice.status) == ("preview_ready", "preview_ready")


def test_a_remote_that_is_silent_or_has_lost_its_main_ends_no_preview(place):
    run = place.preview("feature/ready", {"README.md": "ready"})
    branch_watch.watch_branches()
    away = place.folder / "away.git"
    place.remote.rename(away)
    with pytest.raises(Refused, match="did not answer"):
        branch_watch.watch_branches()
    place.git("init", "-q", "--bare", "--initial-branch=main", str(place.remote))
    [still] = watched(run)
    assert (still.status, still.stop_status) == ("preview_ready", "")
    place.git("push", "-q", "origin", "main", cwd=place.clone)
    [ended] = watched(run)
    assert ended.status == "canceled"


def test_a_remote_that_falls_silent_is_told_once_and_that_it_answers_again_too(place):
    def told():
        return list(Event.objects.order_by("id").values_list("kind", flat=True))

    branch_watch.watch_branches()
    assert told() == []
    away = place.folder / "away.git"
    for _ in range(2):
        place.remote.rename(away)
        for _ in range(2):
            with pytest.raises(Refused):
                branch_watch.watch_branches()
        assert told()[-1] == "fetch_fails"
        away.rename(place.remote)
        branch_watch.watch_branches()
        branch_watch.watch_branches()
    assert told() == ["fetch_fails", "fetch_works"] * 2
    assert "did not answer" in Event.objects.filter(kind="fetch_fails").first().text
