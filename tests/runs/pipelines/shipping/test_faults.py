"""Faults of the host while runs are executed: database, processes, signals, many runs."""

import signal
import time
from contextlib import suppress
from itertools import pairwise

import pytest
from django.db import Error, connection

from releases.deployments.deploy_commit import deploy_commit
from releases.models import Deployment, DeploymentInProgress, Release
from runs import freezes
from runs.lifecycle import execution, operations
from runs.models import Run, Step
from slots.models import Lease
from tests.environment import CLUSTER, FAST
from tests.runs.pipelines.shipping.harness import LOOKS, STEPS, Fault, wait_for, ways_out
from tests.runs.pipelines.shipping.processes import LOOK_SECONDS, OWN, forked, sleepers


def restart_database():
    """As after a crash of the server: what was not committed is gone, every session is."""
    CLUSTER._run_tool("pg_ctl", CLUSTER.data, CLUSTER.user, "-w", "-m", "immediate", "stop")
    CLUSTER.start(FAST)


def end_session():
    """End the working step's own connection."""
    pid = connection.connection.info.backend_pid
    CLUSTER.execute([f"SELECT pg_terminate_backend({pid})"])


@pytest.fixture
def durable():
    """Commits outlive the server's crash, as they do where it is not set up to be fast."""
    CLUSTER.execute(["ALTER SYSTEM SET synchronous_commit = on", "SELECT pg_reload_conf()"])
    yield
    CLUSTER.execute(["ALTER SYSTEM RESET synchronous_commit", "SELECT pg_reload_conf()"])


def deliver_tasks(run, approve=True):
    """Execute the run until it has ended; errors are logged, as in the queue."""
    deadline = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline:
        with suppress(Error):
            execution.execute_run(run.pk)
        connection.close()
        run.refresh_from_db()
        if run.is_final:
            return
        if approve and run.status == "preview_ready":
            operations.approve(run, actor="grace")
    raise AssertionError(f"the run is still {run.status}")


BROKEN = [("push", restart_database), ("migrate", end_session)]
EVERYWHERE = [
    (step, broken)
    for step in STEPS
    for broken in (restart_database, end_session)
    if step not in LOOKS
]


def breaks(step, broken, small, harness, during):
    branch = f"broken/{small.commits()}"
    small.commit(branch, {"broken.txt": branch})
    during(step, broken, acted=True)
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    deliver_tasks(run)
    harness.reconcile()
    assert (run.status, run.failure_detail) == ("merged", "")
    assert harness.acted(run, step) == 1
    assert not (found := harness.differences(run)), "\n".join(found)


@pytest.mark.parametrize(("step", "broken"), BROKEN)
def test_a_database_restart_within_a_step_keeps_committed_work(
    step, broken, small, harness, during, durable
):
    assert "merged" in harness.usual
    breaks(step, broken, small, harness, during)


@pytest.mark.full
@pytest.mark.parametrize(("step", "broken"), EVERYWHERE)
def test_a_database_restart_within_any_step_keeps_committed_work(
    step, broken, small, harness, during, durable
):
    assert "merged" in harness.usual
    breaks(step, broken, small, harness, during)


def test_a_step_whose_connection_is_terminated_stops_before_its_next_effect(
    small, harness, during, ready_small
):
    run = ready_small("ended/session")
    operations.approve(run, actor="grace")
    during("merge", end_session, acted=True)
    with pytest.raises(Error):
        execution.execute_run(run.pk)
    connection.close()
    run.refresh_from_db()
    assert (run.status, harness.acted(run, "push")) == ("merging", 0)
    assert run.claim_owner == ""  # released, so that the next task can claim it at once
    assert run.steps.get(name="merge").status == "running"
    deliver_tasks(run)
    assert run.status == "merged"


@pytest.mark.parametrize(
    ("step", "status"),
    [
        pytest.param("checks", "merging", marks=pytest.mark.full),
        ("health", "deploying"),
    ],
)
def test_a_step_that_kills_each_worker_fails_the_run(step, status, small, harness, ready_small):
    before = small.commit("main", {"before.txt": step})
    deploy_commit(small.config, before, actor="ada", reason="it serves before")
    run = ready_small(f"deadly/{step}")
    operations.approve(run, actor="grace")
    for _ in range(3):
        assert harness.dies(run, step, "begun")
        harness.expire_claims()
        run.refresh_from_db()
        assert run.status == status
    execution.execute_run(run.pk)
    run.refresh_from_db()
    harness.reconcile()
    assert (run.status, run.failure_code) == ("failed", "STEP_KEPT_DYING")
    assert f"died 3 times at the step {step}" in run.failure_detail
    assert small.get(small.config.web_port, "/api/health").text == before
    assert not Deployment.objects.running().exists()
    assert Release.objects.live().commit_sha == before
    assert bool(freezes.list_active_freezes()) == (step == "health")
    assert ways_out(run) == (["retry", "revert", "unfreeze"] if step == "health" else [])


def test_a_worker_that_keeps_dying_between_merge_and_push_leaves_nothing_merged(
    small, harness, ready_small
):
    run = ready_small("deadly/push")
    main = small.remote_main()
    operations.approve(run, actor="grace")
    for _ in range(3):
        assert harness.dies(run, "push", "begun")
        harness.expire_claims()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "STEP_KEPT_DYING")
    ours = small.git("rev-parse", "main", cwd=small.config.var / "repo.git")
    assert ours == small.remote_main() == main
    assert freezes.list_active_freezes() == []
    assert ways_out(run) == []


def test_a_check_with_a_surviving_grandchild_ends_with_its_own_exit(small, ready_small):
    script = f"sleep 4747{OWN} &\nexit 0\n"
    toml = '[checks]\nquick = "sh leaves.sh"\n'
    run = ready_small("child/leaves", {"leaves.sh": script, "oroboros.toml": toml})
    operations.approve(run, actor="grace", accept_checks=True)
    begun = time.monotonic()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "merged"
    assert time.monotonic() - begun < LOOK_SECONDS
    assert not sleepers(f"4747{OWN}")
    small.commit("main", {"leaves.sh": None, "oroboros.toml": '[checks]\nquick = "true"\n'})


def test_a_check_that_hangs_is_killed_with_its_descendants(small, ready_small):
    script = f"sleep 4848{OWN} &\nsleep 4848{OWN}\n"
    toml = '[checks]\nquick = { run = "sh hangs.sh", timeout = 1 }\n'
    run = ready_small("child/hangs", {"hangs.sh": script, "oroboros.toml": toml})
    operations.approve(run, actor="grace", accept_checks=True)
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "STEP_TIMEOUT")
    assert not sleepers(f"4848{OWN}")


def test_sigterm_during_a_deploy_is_resumed(small, harness, ready_small):
    run = ready_small("term/deploy")
    operations.approve(run, actor="grace")
    number = harness.execute_in_child(run, Fault("deploy", "after", signal.SIGTERM))
    assert number == -signal.SIGTERM
    assert small.get(small.config.web_port).status_code in (200, 503)  # nothing, or the new one
    harness.expire_claims()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "merged"
    assert Deployment.objects.filter(run_id=run.pk).count() == 1


def test_two_runs_approved_at_once_ship_in_order(small, ready_small):
    runs = [ready_small(f"both/{name}") for name in ("one", "two")]
    for run in runs:
        operations.approve(run, actor="grace")
    children = [forked(lambda run=run: deliver_tasks(run, approve=False)) for run in reversed(runs)]
    assert [wait_for(child) for child in children] == [0, 0]
    assert_shipped_in_order(small, runs)


def assert_shipped_in_order(small, runs):
    """Each merged on top of the one before, and none began before that one was merged."""
    for run in runs:
        run.refresh_from_db()
        assert run.status == "merged", run.failure_detail
    for earlier, later in pairwise(runs):
        assert later.base_sha == earlier.candidate_sha
        over = Step.objects.get(run=earlier, name="health").ended_at
        assert Step.objects.get(run=later, name="candidate").started_at >= over
    assert small.remote_main() == runs[-1].candidate_sha


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.full)])
def test_many_runs_over_three_slots_are_merged_in_the_order_of_approval(count, small):
    names = [f"many/{number}/{small.commits()}" for number in range(count)]
    for name in names:
        small.commit(name, {f"{name}.txt": name})
    made = [operations.create_run(title=name, branch=name, actor="ada") for name in names]
    workers = [forked(lambda: work_until_all_ended(count)) for _ in range(3)]
    deadline = time.monotonic() + 60 * count
    while (open_runs := Run.objects.unfinished()).exists() and time.monotonic() < deadline:
        for run in open_runs.filter(status="preview_ready"):
            operations.approve(run, actor="grace")
        time.sleep(0.05)
    assert [wait_for(worker) for worker in workers] == [0, 0, 0]
    ends = list(Run.objects.order_by("approved_at"))
    assert {run.pk for run in ends} == {run.pk for run in made}
    assert_shipped_in_order(small, ends)
    for earlier, later in pairwise(Lease.objects.order_by("slot", "fence")):
        assert earlier.slot != later.slot or earlier.ended_at <= later.granted_at


def work_until_all_ended(count):
    """Execute all runs until they have ended, as queue workers and the supervisor do."""
    deadline = time.monotonic() + 60 * count
    while (runs := list(Run.objects.unfinished())) and time.monotonic() < deadline:
        for run in runs:
            execution.execute_run(run.pk)
        time.sleep(0.05)


@pytest.mark.parametrize("action", ["deploy_release", "complete_deployment"])
def test_a_deployment_of_another_process_is_waited_for(action, small, ready_small, monkeypatch):
    run = ready_small(f"waits/{action}")
    operations.approve(run, actor="grace")

    def busy(*args, **kwargs):
        raise DeploymentInProgress("Another process works on it.")

    with monkeypatch.context() as patch:
        patch.setattr(f"runs.pipelines.deployment.deploy_and_rollback.{action}", busy)
        execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, freezes.list_active_freezes()) == ("deploying", [])
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.attempts) == ("merged", 0)
