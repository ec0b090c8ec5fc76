"""Push modes, and remotes that reject, move or do not answer: codes, artifacts, refs."""

import shlex
import subprocess
from dataclasses import replace

import pytest

from host.git.bare_repository import Repository
from releases.models import Deployment
from runs import freezes
from runs.lifecycle import branch_watch, execution, operations
from runs.lifecycle.pushing import push_target_branch
from runs.models import Run
from runs.pipelines import shipping
from tests.factories import RunFactory
from tests.runs.pipelines.shipping.harness import kinds_of, ways_out
from tests.runs.pipelines.shipping.world import GIT

AUTO, MANUAL, DRY_RUN = "auto", "manual", "dry-run"


@pytest.fixture
def configured(small, settings):
    """Change the host's configuration for this test."""

    def change(**environ):
        environ = {**small.config.environ, **environ}
        settings.OROBOROS = replace(small.config, environ=environ)

    return change


@pytest.fixture
def before(monkeypatch):
    """Call a function once just before a step of shipping acts."""

    def arrange(step, happen):
        def changed(action):
            if action.name != step:
                return action
            todo = [happen]

            def act(context):
                if todo:
                    todo.pop()()
                action.act(context)

            return replace(action, act=act)

        monkeypatch.setattr(shipping, "STEPS", tuple(map(changed, shipping.STEPS)))

    return arrange


def our_main(world):
    return world.git("rev-parse", "main", cwd=world.config.var / "repo.git")


def first_parent(world, commit):
    return world.git("rev-parse", f"{commit}^1", cwd=world.config.var / "repo.git")


@pytest.mark.parametrize("mode", [AUTO, MANUAL, pytest.param(DRY_RUN, marks=pytest.mark.full)])
def test_each_push_mode_ends_merged_and_the_next_run_is_based_on_it(
    mode, small, ships, configured, settings
):
    configured(MERGE_GATE_GIT_PUSH_MODE=mode)
    was = small.remote_main()
    one = ships(f"{mode}/one")
    assert one.status == "merged"
    assert one.pushed is (mode == AUTO)
    assert small.remote_main() == (one.candidate_sha if mode == AUTO else was)
    assert our_main(small) == one.candidate_sha
    two = ships(f"{mode}/two")
    assert (two.status, two.base_sha) == ("merged", one.candidate_sha)
    if mode == AUTO:
        return
    assert f"push mode {mode}" in log_of(small, two)
    assert [run.pk for run in shipping.list_unpushed_runs(small.config)] == [two.pk, one.pk]
    assert two.next_action == "./scripts/push.sh"
    pushed = push_target_branch(settings.OROBOROS, actor="olga", dry_run=True)
    assert (pushed.commit, small.remote_main()) == (two.candidate_sha, was)
    push_target_branch(settings.OROBOROS, actor="olga")
    assert small.remote_main() == two.candidate_sha
    assert not shipping.list_unpushed_runs(small.config).exists()
    assert kinds_of(one)[-1] == "pushed"


def test_a_failed_deploy_that_stays_in_main_is_unpushed_until_it_is_pushed(
    small, ships, configured, settings
):
    configured(MERGE_GATE_GIT_PUSH_MODE=MANUAL)
    before = ships("unpushed/before")
    (small.folder / "unhealthy").touch()
    failed = ships("unpushed/failed")
    assert (failed.status, failed.failure_code) == ("failed", "DEPLOY_HEALTHCHECK_FAILED")
    elsewhere = small.commit("unpushed/taken-back", {"no.txt": "not in main"})
    for candidate in (elsewhere, "a" * 40):
        RunFactory(status="failed", pushed=False, candidate_sha=candidate)
    branch_watch.watch_branches()
    assert [run.pk for run in shipping.list_unpushed_runs(small.config)] == [failed.pk, before.pk]
    assert failed.next_action.splitlines()[0].endswith(": ./scripts/push.sh")
    push_target_branch(settings.OROBOROS, actor="olga")
    assert not shipping.list_unpushed_runs(small.config).exists()
    assert kinds_of(failed)[-1] == "pushed"
    way = failed.next_action
    failed.refresh_from_db()
    assert (failed.pushed, failed.next_action) == (True, way)


def test_a_commit_that_main_no_longer_has_is_not_listed_as_unpushed(small, ships, configured):
    configured(MERGE_GATE_GIT_PUSH_MODE=MANUAL)
    kept, dropped = ships("dropped/before"), ships("dropped/one")
    assert [run.pk for run in shipping.list_unpushed_runs(small.config)] == [dropped.pk, kept.pk]
    repo = Repository(small.config.var / "repo.git", small.config)
    assert repo.update_ref("refs/heads/main", kept.candidate_sha, dropped.candidate_sha)
    assert [run.pk for run in shipping.list_unpushed_runs(small.config)] == [kept.pk]


def test_a_merge_that_the_repository_lost_does_not_stop_the_branch_watch(
    small, ships, configured, settings
):
    configured(MERGE_GATE_GIT_PUSH_MODE=MANUAL)
    RunFactory(status="merged", pushed=False, candidate_sha="a" * 40)
    one = ships("lost/before")
    push_target_branch(settings.OROBOROS, actor="olga")
    one.refresh_from_db()
    assert one.pushed is True
    assert not shipping.list_unpushed_runs(small.config).exists()


def test_a_separate_push_remote_is_used_and_the_other_unchanged(small, ships, configured, settings):
    was, other = small.remote_main(), small.folder / f"other-{small.commits()}.git"
    small.git("clone", "-q", "--bare", str(small.remote), str(other))
    other_main = lambda: small.git("rev-parse", "main", cwd=other)  # noqa: E731
    configured(MERGE_GATE_GIT_PUSH_MODE=AUTO, MERGE_GATE_GIT_PUSH_REMOTE=str(other))
    one = ships("other/auto")
    assert (one.status, one.pushed, other_main()) == ("merged", True, one.candidate_sha)
    configured(MERGE_GATE_GIT_PUSH_MODE=MANUAL, MERGE_GATE_GIT_PUSH_REMOTE=str(other))
    two = ships("other/manual")
    branch_watch.watch_branches()
    assert two.pk in [run.pk for run in shipping.list_unpushed_runs(small.config)]
    push_target_branch(settings.OROBOROS, actor="olga")
    Run.objects.filter(pk=two.pk).update(pushed=False)
    small.git("fetch", "-q", str(other), "main", cwd=small.clone)
    small.git("checkout", "-q", "--detach", "FETCH_HEAD", cwd=small.clone)
    small.git("commit", "-q", "--allow-empty", "-m", "on top, unknown here", cwd=small.clone)
    small.git("push", "-q", str(other), "HEAD:main", cwd=small.clone)
    branch_watch.watch_branches()
    two.refresh_from_db()
    assert (two.pushed, kinds_of(two)[-1]) == (True, "pushed")
    theirs = Repository(small.config.var / "repo.git", small.config).list_branch_heads()
    assert (theirs["main"], theirs[two.branch]) == (was, two.commit_sha)
    assert small.remote_main() == was


def test_an_unpushed_commit_is_pushed_with_the_next_one(small, ships, configured):
    configured(MERGE_GATE_GIT_PUSH_MODE=MANUAL)
    one = ships("later/one")
    configured(MERGE_GATE_GIT_PUSH_MODE=AUTO)
    two = ships("later/two")
    assert small.remote_main() == two.candidate_sha
    assert two.base_sha == one.candidate_sha


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MERGE_GATE_GIT_PUSH_MODE", "always", "manual, auto, dry-run"),
        ("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS", "0", "above 0"),
        ("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS", "-5", "above 0"),
        ("MERGE_GATE_GIT_PUSH_REMOTE", "git://example.com/x", "ssh://user@host/path"),
        ("DEPLOY_BACKEND_RELOAD_CMD", "a && b", "needs a shell"),
        ("DEPLOY_BACKEND_RELOAD_TIMEOUT", "soon", "'soon'"),
        ("DEPLOY_BACKEND_HEALTHCHECK_CMD", "a | b", "needs a shell"),
        ("DEPLOY_BACKEND_HEALTHCHECK_TIMEOUT", "0", "above 0"),
        ("DEPLOY_HEALTH_SECONDS", "soon", "'soon'"),
        ("DEPLOY_START_SECONDS", "0", "above 0"),
    ],
)
def test_an_invalid_setting_is_refused_before_the_merge(
    name, value, said, small, ships, configured
):
    configured(**{name: value})
    main = small.remote_main()
    run = ships("setting/wrong")
    assert (run.status, run.failure_code) == ("failed", "HOST_REFUSED")
    assert run.failure_detail.startswith(name)
    assert said in run.failure_detail
    assert (run.candidate_sha, small.remote_main()) == ("", main)
    assert freezes.list_active_freezes() == []


def test_a_setting_that_becomes_invalid_after_the_push_undoes_the_deploy(
    small, ships, configured, before, settings
):
    healthy = ships("setting/before")
    configured()
    environ = settings.OROBOROS.environ
    before("deploy", lambda: environ.update(DEPLOY_HEALTH_SECONDS="soon"))
    run = ships("setting/after")
    assert (run.status, run.failure_code) == ("failed", "DEPLOY_HEALTHCHECK_FAILED")
    assert "DEPLOY_HEALTH_SECONDS" in run.failure_detail
    assert not Deployment.objects.running().exists()  # which would refuse every rollback
    assert small.get(small.config.web_port, "/api/health").text == healthy.candidate_sha
    environ.update(DEPLOY_HEALTH_SECONDS="0")
    assert ship(operations.retry(run, actor="ada")).status == "merged"


def test_a_rejected_commit_is_not_pushed_with_the_next_run(small, ships, ready_small):
    main, rejected = small.remote_main(), ready_small("push/rejected")
    with small.hook("pre-receive", "echo 'not today' >&2; exit 1"):
        rejected = ship(rejected)
    assert (rejected.status, rejected.failure_code) == ("failed", "DEPLOY_PUSH_FAILED")
    assert "(remote: not today)" in rejected.failure_detail
    assert "./scripts/push.sh --dry-run --commit " + rejected.candidate_sha in rejected.next_action
    assert "not today" in log_of(small, rejected)
    assert our_main(small) == small.remote_main() == main
    assert kinds_of(rejected)[-3:] == ["failed", "rollback_guidance", "lease_ended"]
    assert f"/api/runs/{rejected.pk}/retry" in rejected.next_action
    assert freezes.list_active_freezes() == []
    following = ships("push/following")
    assert (following.status, following.base_sha) == ("merged", main)


def test_a_remote_that_moved_since_the_gate_causes_a_new_candidate(small, ships, before):
    before("release", lambda: small.commit("main", {"ahead.txt": "gate"}))
    run = ships("moved/gate")
    assert (run.status, run.failure_detail) == ("merged", "")
    assert first_parent(small, run.candidate_sha) == run.base_sha
    assert "ahead.txt" in small.git("ls-tree", "--name-only", run.base_sha, cwd=small.remote)
    assert run.steps.get(name="checks").attempt == 2  # the untested tree never lands
    assert "pipeline_restarted" in kinds_of(run)
    assert small.remote_main() == our_main(small) == run.candidate_sha


def test_a_target_that_moves_while_the_candidate_is_made_causes_a_new_one(
    small, ships, monkeypatch
):
    merge, moved = shipping._merge_candidate, []

    def moving(context, repo, base):
        candidate = merge(context, repo, base)
        if not moved:
            moved.append(small.commit("main", {"ahead.txt": "candidate"}))
            repo.fetch(context.config.git_remote_url)
            assert repo.update_ref(shipping.target_ref(context.config), moved[0], base)
        return candidate

    monkeypatch.setattr(shipping, "_merge_candidate", moving)
    run = ships("moved/candidate")
    assert (run.status, run.failure_detail, run.base_sha) == ("merged", "", moved[0])
    assert small.remote_main() == our_main(small) == run.candidate_sha


def test_a_remote_that_moves_before_the_push_causes_a_new_candidate(small, ships, before):
    before("push", lambda: small.commit("main", {"ahead.txt": "push"}))
    run = ships("moved/push")
    assert (run.status, run.failure_detail) == ("merged", "")
    assert run.steps.get(name="checks").attempt == 2
    assert small.remote_main() == our_main(small) == run.candidate_sha


def test_a_main_that_keeps_moving_fails_the_run(small, ready_small, monkeypatch):
    def moving(action):
        if action.name != "release":
            return action

        def act(context):
            action.act(context)
            small.commit("main", {"moving.txt": context.run.candidate_sha})

        return replace(action, act=act)

    monkeypatch.setattr(shipping, "STEPS", tuple(map(moving, shipping.STEPS)))
    run = ready_small("moved/ever")
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "HOST_REFUSED")
    assert "was restarted 5 times" in run.failure_detail
    assert freezes.list_active_freezes() == []


@pytest.mark.parametrize(
    "decision", ["To keep both", pytest.param("To take the remote's", marks=pytest.mark.full)]
)
def test_a_diverged_remote_freezes_shipping_until_a_person_decides(
    decision, small, ships, ready_small
):
    waiting = ready_small("diverged/waiting")
    shipped = ships("diverged/before")
    small.git("fetch", "-q", "origin", cwd=small.clone)
    small.git("checkout", "-q", "--detach", shipped.base_sha, cwd=small.clone)
    small.git("commit", "-q", "--allow-empty", "-m", "another history", cwd=small.clone)
    small.git("push", "-q", "--force", "origin", "HEAD:main", cwd=small.clone)
    ours, theirs = our_main(small), small.remote_main()
    run = ships("diverged/one")
    assert (run.status, run.failure_code) == ("failed", "MAIN_DIVERGED")
    assert f"{ours}...{theirs}" in run.next_action
    assert (our_main(small), small.remote_main()) == (ours, theirs)
    operations.approve(waiting, actor="grace")
    execution.execute_run(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.status == "approved"  # it waits, and does not fail for the same cause
    lines = run.next_action.splitlines()
    subprocess.run(shlex.split(lines[0].removeprefix("To look: ")), check=True, capture_output=True)
    [command] = [line.partition(": ")[2] for line in lines if line.startswith(decision)]
    subprocess.run(["sh", "-ec", command], cwd=small.clone, env=GIT, check=True)
    assert "unfreeze" in ways_out(run)
    again = operations.retry(run, actor="ada")
    small.git("branch", "-f", "main", theirs, cwd=small.clone)
    again = ship(again)
    assert again.status == "merged"
    is_kept = shipped.candidate_sha in small.git("rev-list", "main", cwd=small.remote).split()
    assert is_kept == (decision == "To keep both")
    assert freezes.list_active_freezes() == []
    execution.execute_run(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.status == "merged"


def test_a_remote_that_is_missing_at_the_push_leaves_nothing_merged(small, ships, before):
    main, away = small.remote_main(), small.folder / "away.git"
    before("push", lambda: small.remote.rename(away))
    try:
        run = ships("gone/push")
    finally:
        away.rename(small.remote)
    assert (run.status, run.failure_code) == ("failed", "DEPLOY_PUSH_FAILED")
    assert "does not appear to be a git repository" in log_of(small, run)
    assert our_main(small) == small.remote_main() == main
    assert freezes.list_active_freezes() == []


def test_a_remote_that_is_missing_at_the_candidate_is_named(small, ready_small):
    run, away = ready_small("gone/candidate"), small.folder / "away.git"
    small.remote.rename(away)
    try:
        ship(run)
    finally:
        away.rename(small.remote)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "HOST_REFUSED")
    assert "did not answer" in run.failure_detail


def test_a_push_that_times_out_is_found_on_the_remote(small, ready_small, configured):
    configured(MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS="5")  # time enough for the refs
    run = ready_small("slow/after")
    with small.hook("post-receive", "sleep 60"):  # the refs are there before it runs
        run = ship(run)
    assert (run.status, run.pushed) == ("merged", True)
    assert small.remote_main() == run.candidate_sha


def test_a_push_that_times_out_and_is_not_on_the_remote_fails(
    small, ready_small, configured, monkeypatch
):
    configured(MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS="1")
    monkeypatch.setattr(shipping, "SETTLE_SECONDS", 0.5)
    main, run = small.remote_main(), ready_small("slow/before")
    with small.hook("pre-receive", "sleep 60"):
        run = ship(run)
    assert (run.status, run.failure_code) == ("failed", "DEPLOY_PUSH_FAILED")
    assert our_main(small) == small.remote_main() == main


def test_a_lost_push_is_found_after_the_remote_moved_on(small, harness, ready_small):
    run = ready_small("lost/moved")
    operations.approve(run, actor="grace")
    assert harness.dies(run, "push", "after")
    small.commit("main", {"on.txt": "moved on"})
    harness.expire_claims()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.pushed, harness.acted(run, "push")) == ("merged", True, 1)


def test_a_stale_git_lock_fails_the_run_after_some_retries(small, ready_small):
    run = ready_small("lock/stale")
    ours, theirs = our_main(small), small.remote_main()
    lock = small.config.var / "repo.git" / "refs" / "heads" / "main.lock"
    operations.approve(run, actor="grace")
    lock.touch()
    try:
        execution.execute_run(run.pk)
    finally:
        lock.unlink()
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "HOST_REFUSED")
    assert str(lock) in run.failure_detail
    assert (our_main(small), small.remote_main()) == (ours, theirs)
    assert freezes.list_active_freezes() == []


def ship(run):
    """Execute the run, approve it when it is ready, and execute it again. Returns it."""
    execution.execute_run(run.pk)
    run.refresh_from_db()
    if run.status == "preview_ready":
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
    return Run.objects.get(pk=run.pk)


def log_of(world, run):
    path = run.artifacts.get(name="deploy_git_push_log").path
    return (world.config.var / "artifacts" / path).read_text()
