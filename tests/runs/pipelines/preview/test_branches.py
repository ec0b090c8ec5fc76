"""The branch watch: deleted branches, and a remote that does not answer."""

import pytest

from host.errors import Refused
from runs.lifecycle import branch_watch, execution, operations
from runs.models import Event, Run
from slots.models import Lease
from slots.rules import LeaseState


def delete(place, branch):
    place.git("push", "-q", "origin", "--delete", branch, cwd=place.clone)


def watched(*runs):
    """Watch the branches, then execute the runs as the queue would. Returns them."""
    branch_watch.watch_branches()
    for run in runs:
        execution.execute_run(run.pk)
    return [Run.objects.get(pk=run.pk) for run in runs]


def test_a_deleted_branch_cancels_its_preview_but_not_an_approved_run(place):
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
        assert f"no longer has the branch {run.branch}" in run.failure_detail
        assert Lease.objects.get(run=run).state == LeaseState.ENDED
    approved.refresh_from_db()
    assert (approved.status, approved.stop_status) == ("approved", "")
    again = operations.retry(ended[0], actor="ada")
    assert again.commit_sha == ready.commit_sha


def test_a_run_whose_branch_never_existed_continues(place):
    commit = place.commit("feature/known", {"README.md": "known"})
    run = operations.create_run(title="named", branch="made/up", commit=commit, actor="ada")
    execution.execute_run(run.pk)
    [once] = watched(run)
    [twice] = watched(run)
    assert (once.status, twice.status) == ("preview_ready", "preview_ready")


def test_a_remote_without_an_answer_or_without_main_cancels_no_preview(place):
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


def test_an_unavailable_remote_is_recorded_once_and_so_is_its_recovery(place):
    def kinds():
        return list(Event.objects.order_by("id").values_list("kind", flat=True))

    branch_watch.watch_branches()
    assert kinds() == []
    away = place.folder / "away.git"
    for _ in range(2):
        place.remote.rename(away)
        for _ in range(2):
            with pytest.raises(Refused):
                branch_watch.watch_branches()
        assert kinds()[-1] == "fetch_failed"
        away.rename(place.remote)
        branch_watch.watch_branches()
        branch_watch.watch_branches()
    assert kinds() == ["fetch_failed", "fetch_recovered"] * 2
    assert "did not answer" in Event.objects.filter(kind="fetch_failed").first().text
