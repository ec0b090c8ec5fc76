"""The task that a grant enqueues, and the run that a worker executes for it."""

import pytest
from django_q.brokers import get_broker
from django_q.signing import SignedPackage

from runs.leasing import leases
from runs.lifecycle import execution
from runs.models import Run
from runs.rules import Status
from tests.factories import RunFactory

pytestmark = pytest.mark.usefixtures("slots")


@pytest.fixture
def granted():
    """Two runs that were granted slots, the older first."""
    runs = [RunFactory(), RunFactory()]
    for run in runs:
        leases.request_slot(run, actor="alice")
        run.refresh_from_db()
    assert [run.status for run in runs] == [Status.PREPARING] * 2
    return runs


@pytest.fixture
def executed(monkeypatch):
    """The ids of the runs that were executed, in order."""
    found = []
    monkeypatch.setattr(execution, "_run_claimed", lambda config, run, claim: found.append(run.pk))
    return found


def test_grant_enqueues_a_task_that_a_worker_can_load(granted):
    [(_, payload)] = get_broker().dequeue()
    task = SignedPackage.loads(payload)
    assert (task["func"], task["args"]) == ("runs.lifecycle.execution.execute_next_granted", ())


def test_worker_executes_the_oldest_granted_run_without_a_claim(granted, executed):
    first, second = granted
    execution.execute_next_granted()
    assert executed == [first.pk]
    assert Run.objects.claim(first.pk, "a rival")
    execution.execute_next_granted()
    assert executed == [first.pk, second.pk]


def test_second_task_of_a_run_that_was_stopped_executes_nothing():
    run = RunFactory(status=Status.CANCELED, stop_status=Status.CANCELED)
    assert not execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.attempts) == (Status.CANCELED, 0)


def test_surplus_task_executes_nothing(granted, executed):
    for run in granted:
        assert Run.objects.claim(run.pk, "a rival")
    execution.execute_next_granted()
    assert executed == []
