"""The way of a branch from waiting to merged, on real parts."""

from runs.models import Run


def test_a_branch_reaches_preview_ready_and_is_shown(world, ready):
    commit = world.commit("feature/one", {"backend/new.txt": "one"})
    run = ready("feature/one")
    slot = world.config.slot("preview-1")
    page = world.get(slot.web_port)
    assert page.status_code == 200
    assert page.headers["X-Oroboros-Run"] == str(run.pk)
    assert page.headers["X-Oroboros-Commit"] == commit
    assert world.get(slot.web_port, "/api/health").json()["status"] == "ok"
    assert world.get(slot.backend_port, "/health").status_code == 200
    names = list(run.steps.values_list("name", flat=True))
    expected = "lease worktree install database migrate build backend surface probe"
    assert names == expected.split()


def test_an_approved_branch_is_merged_pushed_and_live(world, shipped):
    commit = world.commit("feature/two", {"backend/two.txt": "two"})
    before = world.remote_main()
    run = shipped("feature/two")
    assert (run.status, run.failure_detail) == ("merged", "")
    assert world.remote_main() == run.candidate_sha
    parents = world.git(
        "rev-parse", f"{run.candidate_sha}^1", f"{run.candidate_sha}^2", cwd=world.remote
    )
    assert parents.split() == [before, commit]
    assert world.get(world.config.web_port).headers["X-Oroboros-Commit"] == run.candidate_sha
    assert run.pushed is True
    assert run.release.status == "live"
    idle = world.get(world.config.slot("preview-1").backend_port, "/health").json()
    assert idle["status"] == "idle"
    assert Run.objects.count() == 1
