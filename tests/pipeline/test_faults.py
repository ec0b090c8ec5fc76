"""What befalls a host at work: its database, its clock of leases, its people, its signals."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from django.db import Error, connection, connections

from oroboros.clock import ClockTimestamp
from oroboros.errors import Refused
from oroboros.lib import proctable
from releases.models import Activation, Release
from releases.shipping import ship_commit
from runs import preview, reaper, shipping, tasks, turns
from runs.models import Run, Step
from slots.models import Lease
from tests.environment import CLUSTER, FAST
from tests.pipeline.harness import LOOKS, PREVIEW, STEPS, Fault, kinds_of, wait_for

LOOK_SECONDS = 60


@pytest.fixture
def during(monkeypatch):
    """Have something happen within a step, before or after it acted, once."""

    def arrange(step, happen, *, acted=False):
        module = preview if step in PREVIEW else shipping
        todo = [happen]

        def changed(action):
            if action.name != step:
                return action

            def act(context):
                if acted:
                    action.act(context)
                if todo:
                    todo.pop()()
                if not acted:
                    action.act(context)

            return replace(action, act=act)

        monkeypatch.setattr(module, "ACTIONS", tuple(map(changed, module.ACTIONS)))

    return arrange


def restart_database():
    """As after a crash of the server: what was not committed is gone, every session is."""
    CLUSTER._tool("pg_ctl", CLUSTER.data, CLUSTER.user, "-w", "-m", "immediate", "stop")
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


def bells(run, approve=True):
    """Ring until the run has ended; accidents are the queue's to log."""
    deadline = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline:
        with suppress(Error):
            tasks.carry(run.pk)
        connection.close()
        run.refresh_from_db()
        if run.is_final:
            return
        if approve and run.status == "preview_ready":
            tasks.approve(run, actor="grace")
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
    run = tasks.create_run(title=branch, branch=branch, actor="ada")
    bells(run)
    harness.reconcile()
    assert (run.status, run.failure_detail) == ("merged", "")
    assert harness.acted(run, step) == 1
    assert not (found := harness.differences(run)), "\n".join(found)


@pytest.mark.parametrize(("step", "broken"), BROKEN)
def test_a_database_that_breaks_within_a_step_keeps_what_was_done(
    step, broken, small, harness, during, durable
):
    assert "merged" in harness.usual
    breaks(step, broken, small, harness, during)


@pytest.mark.full
@pytest.mark.parametrize(("step", "broken"), EVERYWHERE)
def test_a_database_that_breaks_within_any_step_keeps_what_was_done(
    step, broken, small, harness, during, durable
):
    assert "merged" in harness.usual
    breaks(step, broken, small, harness, during)


def test_a_step_whose_connection_was_ended_stops_before_the_next_effect(
    small, harness, during, ready_small
):
    run = ready_small("ended/session")
    tasks.approve(run, actor="grace")
    during("merge", end_session, acted=True)
    with pytest.raises(Error):
        tasks.carry(run.pk)
    connection.close()
    run.refresh_from_db()
    assert (run.status, harness.acted(run, "push")) == ("merging", 0)
    assert run.claim_owner == ""  # given up, so that the next bell is heard at once
    assert run.steps.get(name="merge").status == "running"
    bells(run)
    assert run.status == "merged"


@pytest.mark.parametrize(
    ("step", "status"),
    [
        pytest.param("checks", "merging", marks=pytest.mark.full),
        ("health", "deploying"),
    ],
)
def test_a_step_that_kills_its_worker_is_given_up(step, status, small, harness, ready_small):
    before = small.commit("main", {"before.txt": step})
    ship_commit(small.config, before, actor="ada", reason="it serves before")
    run = ready_small(f"deadly/{step}")
    tasks.approve(run, actor="grace")
    for _ in range(3):
        assert harness.dies(run, step, "begun")
        harness.let_claims_run_out()
        run.refresh_from_db()
        assert run.status == status
    tasks.carry(run.pk)
    run.refresh_from_db()
    harness.reconcile()
    assert (run.status, run.failure_code) == ("failed", "STEP_KEPT_DYING")
    assert f"died 3 times at the step {step}" in run.failure_detail
    assert small.get(small.config.web_port, "/api/health").text == before
    assert not Activation.objects.running().exists()
    assert Release.objects.live().commit_sha == before
    assert (turns.standing_freeze() is not None) == (step == "health")


def test_a_worker_that_kept_dying_between_merge_and_push_leaves_nothing_merged(
    small, harness, ready_small
):
    run = ready_small("deadly/push")
    main = small.remote_main()
    tasks.approve(run, actor="grace")
    for _ in range(3):
        assert harness.dies(run, "push", "begun")
        harness.let_claims_run_out()
    tasks.carry(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "STEP_KEPT_DYING")
    ours = small.git("rev-parse", "main", cwd=small.config.var / "repo.git")
    assert ours == small.remote_main() == main
    assert turns.standing_freeze() is None


def test_a_check_that_leaves_a_grandchild_is_over_when_it_ends(small, ready_small):
    script = "sleep 4747 &\nexit 0\n"
    toml = '[checks]\nquick = "sh leaves.sh"\n'
    run = ready_small("child/leaves", {"leaves.sh": script, "oroboros.toml": toml})
    tasks.approve(run, actor="grace", accept_checks=True)
    begun = time.monotonic()
    tasks.carry(run.pk)
    run.refresh_from_db()
    assert run.status == "merged"
    assert time.monotonic() - begun < LOOK_SECONDS
    assert not sleepers("4747")
    small.commit("main", {"leaves.sh": None, "oroboros.toml": '[checks]\nquick = "true"\n'})


def test_a_check_that_hangs_ends_with_its_time_and_its_family(small, ready_small):
    script = "sleep 4848 &\nsleep 4848\n"
    toml = '[checks]\nquick = { run = "sh hangs.sh", timeout = 1 }\n'
    run = ready_small("child/hangs", {"hangs.sh": script, "oroboros.toml": toml})
    tasks.approve(run, actor="grace", accept_checks=True)
    tasks.carry(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "STEP_TIMEOUT")
    assert not sleepers("4848")


def test_sigterm_during_a_deploy_is_resumed(small, harness, ready_small):
    run = ready_small("term/deploy")
    tasks.approve(run, actor="grace")
    number = harness.in_child(run, Fault("deploy", "after", signal.SIGTERM))
    assert number == -signal.SIGTERM
    assert small.get(small.config.web_port).status_code in (200, 503)  # nothing, or the new one
    harness.let_claims_run_out()
    tasks.carry(run.pk)
    run.refresh_from_db()
    assert run.status == "merged"
    assert Activation.objects.filter(run_id=run.pk).count() == 1


def test_a_lease_that_ends_while_its_run_is_prepared_stops_it_cleanly(small, during, harness):
    branch = f"lease/preparing/{small.commits()}"
    small.commit(branch, {"lease.txt": branch})
    run = tasks.create_run(title=branch, branch=branch, actor="ada")

    def expire():
        Lease.objects.filter(run=run).update(expires_at=ClockTimestamp() - timedelta(seconds=1))
        assert reaper.reap_expired().slot_ids == ["preview-1"]

    during("build", expire)
    tasks.carry(run.pk)
    run.refresh_from_db()
    harness.reconcile()
    assert (run.status, run.failure_code) == ("expired", "PREVIEW_EXPIRED")
    assert kinds_of(run).count("expired") == 1
    assert [*harness._machine()] == []


def test_a_lease_does_not_end_while_its_run_ships(small, during, ready_small):
    run = ready_small("lease/shipping")

    def expire():
        Lease.objects.filter(run=run).update(expires_at=ClockTimestamp() - timedelta(seconds=1))
        assert reaper.reap_expired().slot_ids == []

    during("checks", expire)
    tasks.approve(run, actor="grace")
    tasks.carry(run.pk)
    run.refresh_from_db()
    assert run.status == "merged"


@pytest.mark.parametrize("verb", ["cancel", "reject"])
def test_stopping_a_run_ends_its_processes_first(verb, small, harness, ready_small):
    toml = '[checks]\nquick = "sh waits.sh"\n'
    run = ready_small(f"stop/{verb}", {"waits.sh": "sleep 4949\n", "oroboros.toml": toml})
    tasks.approve(run, actor="grace", accept_checks=True)
    child = forked(lambda: tasks.carry(run.pk))
    wait_until(lambda: sleepers("4949"))
    getattr(tasks, verb)(run, actor="bob", reason="not like this")
    with pytest.raises(Refused, match="already"):
        tasks.cancel(run, actor="eve")
    assert wait_for(child) == 0
    run.refresh_from_db()
    harness.reconcile()
    wanted = {"cancel": "canceled", "reject": "rejected"}[verb]
    assert (run.status, run.failure_detail) == (wanted, "not like this")
    assert kinds_of(run).count(wanted) == 1
    assert not sleepers("4949")
    assert [*harness._machine()] == []


def test_a_run_is_not_stopped_once_its_merge_has_begun(small, during, ready_small):
    run = ready_small("stop/late")
    answers = []

    def cancel():
        with pytest.raises(Refused) as refusal:
            tasks.cancel(run, actor="bob")
        answers.append(refusal.value.code)

    during("push", cancel)
    tasks.approve(run, actor="grace")
    tasks.carry(run.pk)
    run.refresh_from_db()
    assert (run.status, answers) == ("merged", ["too_late"])


def test_two_runs_approved_at_once_ship_one_after_the_other(small, ready_small):
    runs = [ready_small(f"both/{name}") for name in ("one", "two")]
    for run in runs:
        tasks.approve(run, actor="grace")
    children = [forked(lambda run=run: bells(run, approve=False)) for run in reversed(runs)]
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
    made = [tasks.create_run(title=name, branch=name, actor="ada") for name in names]
    workers = [forked(lambda: work_until_all_ended(count)) for _ in range(3)]
    deadline = time.monotonic() + 15 * count
    while (open_runs := Run.objects.unfinished()).exists() and time.monotonic() < deadline:
        for run in open_runs.filter(status="preview_ready"):
            tasks.approve(run, actor="grace")
        time.sleep(0.05)
    assert [wait_for(worker) for worker in workers] == [0, 0, 0]
    ends = list(Run.objects.order_by("approved_at"))
    assert {run.pk for run in ends} == {run.pk for run in made}
    assert_shipped_in_order(small, ends)
    for earlier, later in pairwise(Lease.objects.order_by("slot", "fence")):
        assert earlier.slot != later.slot or earlier.ended_at <= later.granted_at


def work_until_all_ended(count):
    """What a queue's worker and the sweep do together."""
    deadline = time.monotonic() + 15 * count
    while (runs := list(Run.objects.unfinished())) and time.monotonic() < deadline:
        for run in runs:
            tasks.carry(run.pk)
        time.sleep(0.05)


def forked(work):
    """Do it in a process of its own, with connections of its own."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def sleepers(seconds):
    """Return the processes that sleep for just so long: no others do."""
    found = []
    for entry in proctable.entries():
        with suppress(OSError):
            if Path(f"/proc/{entry.pid}/cmdline").read_text() == f"sleep\0{seconds}\0":
                found.append(entry.pid)
    return found


def wait_until(said):
    deadline = time.monotonic() + LOOK_SECONDS
    while not said():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
