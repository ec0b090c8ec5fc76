"""What stops a run while it is executed: an expired lease, a cancel, a reject."""

import psycopg
import pytest
from django.db import connection

from host.errors import Refused
from host.postgres import guard
from host.postgres.administration import DatabaseAdmin
from runs.leasing import reaper
from runs.lifecycle import execution, finish, operations, reconciler
from runs.models import Run
from slots.models import Lease
from tests.runs.pipelines.shipping.harness import kinds_of, wait_for
from tests.runs.pipelines.shipping.processes import OWN, forked, sleepers, wait_until

# Where a database is given, that is in previews and gates, this holds the step up.
SLEEP = f"4949{OWN}"
WAITS = f'test -z "$DATABASE_URL" || sleep {SLEEP}\n'
BUILD = '[backend]\nbuild = "sh waits.sh"\n'
CHECKS = '[checks]\nquick = "sh waits.sh"\n'
UNTIL = "while [ ! -e {go} ]; do sleep 0.05; done\n"


def expire_lease(run):
    """Expire the run's lease, as after four hours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE slots_lease SET expires_at = clock_timestamp() - interval '1 second' "
            "WHERE run_id = %s",
            [run.pk],
        )


def preparing(small, toml):
    """Have a worker prepare a branch and return the run and the worker once it is held up."""
    branch = f"stop/preparing/{small.commits()}"
    small.commit(branch, {"waits.sh": WAITS, "oroboros.toml": toml})
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    return run, start_worker(run)


def start_worker(run):
    """Execute the run in a forked worker; returns its pid once a process of the step sleeps."""
    child = forked(lambda: execute_and_watch(run))
    wait_until(lambda: sleepers(SLEEP))
    return child


def execute_and_watch(run):
    """Execute the run; fail if it ends while one of its processes lives."""
    ended = finish.move_to_final_status

    def watched(*words, **more):
        assert not sleepers(SLEEP), "the run is ended before its processes"
        return ended(*words, **more)

    finish.move_to_final_status = watched
    execution.execute_run(run.pk)


def assert_ended_once(run, status, harness):
    run.refresh_from_db()
    harness.reconcile()
    assert run.status == status
    assert kinds_of(run).count(status) == 1
    assert kinds_of(run).count("lease_ended") == 1
    assert not sleepers(SLEEP)
    assert [*harness._machine()] == []


def test_a_lease_that_expires_during_preparation_stops_the_run_cleanly(small, harness):
    run, worker = preparing(small, BUILD)
    expire_lease(run)
    assert reaper.reap_expired().slot_ids == ["preview-1"]
    assert reaper.reap_expired().slot_ids == []
    assert Lease.objects.get(run=run).state == "ending"  # not granted while its processes live
    assert wait_for(worker) == 0
    assert_ended_once(run, "expired", harness)
    assert run.failure_code == "PREVIEW_EXPIRED"
    following = operations.create_run(title="next", branch=run.branch, actor="ada")
    assert Lease.objects.get(run=following).slot.slot_id == "preview-1"


def test_a_lease_does_not_expire_while_its_run_ships(small, harness, ready_small):
    # Below var: a check sees no other folder of the tests.
    go = small.config.var / f"go-{small.commits()}"
    files = {"waits.sh": UNTIL.format(go=go), "oroboros.toml": CHECKS}
    run = ready_small("lease/shipping", files)
    operations.approve(run, actor="olga", accept_checks=True)
    worker = forked(lambda: execution.execute_run(run.pk))
    wait_until(lambda: run.steps.filter(name="checks", status="running").exists())
    expire_lease(run)
    assert reaper.reap_expired().slot_ids == []
    reconciler.reconcile(small.config)
    assert Lease.objects.get(run=run).state == "held"
    page = small.get(small.config.slot("preview-1").web_port, "/health")
    assert page.headers["X-Oroboros-Run"] == str(run.pk)
    go.touch()
    assert wait_for(worker) == 0
    assert_ended_once(run, "merged", harness)
    small.commit("main", {"oroboros.toml": '[checks]\nquick = "true"\n'})


def test_a_preview_with_an_expired_lease_does_not_begin_to_ship(small, ready_small):
    run = ready_small("lease/late")
    expire_lease(run)
    with pytest.raises(Refused) as refusal:
        operations.approve(run, actor="grace")
    assert refusal.value.code == "lease_fenced"
    assert not Run.objects.get(pk=run.pk).approvals.exists()
    assert reaper.reap_expired().slot_ids == ["preview-1"]
    assert Run.objects.get(pk=run.pk).status == "expired"


@pytest.mark.parametrize("stage", ["preparing", "checks"])
@pytest.mark.parametrize(("verb", "status"), [("cancel", "canceled"), ("reject", "rejected")])
def test_stopping_a_run_ends_its_processes_first(verb, status, stage, small, harness, ready_small):
    if stage == "preparing":
        run, worker = preparing(small, BUILD)
    else:
        run = ready_small(f"stop/{verb}", {"waits.sh": WAITS, "oroboros.toml": CHECKS})
        operations.approve(run, actor="olga", accept_checks=True)
        worker = start_worker(run)
    getattr(operations, verb)(run, actor="bob", reason="not like this")
    with pytest.raises(Refused, match="already"):
        operations.cancel(run, actor="eve")
    assert wait_for(worker) == 0
    assert_ended_once(run, status, harness)
    assert (run.failure_detail, run.events.get(kind=status).actor) == ("not like this", "bob")


def test_a_run_that_waits_for_a_template_can_be_canceled(small, harness):
    small.commit("main", {"base.txt": "another template"})
    template = guard.template_name(small.remote_main())
    with psycopg.connect(small.config.preview_admin_database_url, autocommit=True) as another:
        # What builds it may take half an hour.
        another.execute("SELECT pg_advisory_lock(hashtext(%s))", [f"oroboros:{template}"])
        branch = f"stop/template/{small.commits()}"
        small.commit(branch, {"waits.txt": branch})
        run = operations.create_run(title=branch, branch=branch, actor="ada")
        worker = forked(lambda: execution.execute_run(run.pk))
        wait_until(lambda: run.steps.filter(name="database", status="running").exists())
        operations.cancel(run, actor="bob", reason="not like this")
        assert wait_for(worker) == 0
    assert_ended_once(run, "canceled", harness)
    assert not DatabaseAdmin(small.config).exists(template)


def test_a_run_cannot_be_canceled_after_its_merge_has_begun(small, during, ready_small):
    run = ready_small("stop/late")
    answers = []

    def cancel():
        with pytest.raises(Refused) as refusal:
            operations.cancel(run, actor="bob")
        answers.append(refusal.value.code)

    during("push", cancel)
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, answers) == ("merged", ["too_late"])
