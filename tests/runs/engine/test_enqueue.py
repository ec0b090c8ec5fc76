"""What a grant puts in the queue, and who takes it."""

import pytest
from django_q.brokers import get_broker
from django_q.signing import SignedPackage

from runs.leasing import leases
from runs.lifecycle import operations
from runs.models import Run
from runs.rules import Status
from tests.factories import RunFactory

pytestmark = pytest.mark.usefixtures("slots")


@pytest.fixture
def granted():
    """Two runs that are to be prepared, the first that came first."""
    runs = [RunFactory(), RunFactory()]
    for run in runs:
        leases.ask(run, actor="alice")
        run.refresh_from_db()
    assert [run.status for run in runs] == [Status.PREPARING] * 2
    return runs


@pytest.fixture
def worked(monkeypatch):
    """The ids of the runs that came to be worked on, in order."""
    found = []
    monkeypatch.setattr(operations, "_work", lambda config, run, claim: found.append(run.pk))
    return found


def test_a_grant_puts_a_task_in_the_queue_that_a_worker_finds(granted):
    [(_, payload)] = get_broker().dequeue()
    task = SignedPackage.loads(payload)
    assert (task["func"], task["args"]) == ("runs.lifecycle.operations.carry_granted", ())


def test_who_hears_it_takes_the_first_run_that_nobody_works_on(granted, worked):
    first, second = granted
    operations.carry_granted()
    assert worked == [first.pk]
    assert Run.objects.claim(first.pk, "a rival")
    operations.carry_granted()
    assert worked == [first.pk, second.pk]


def test_a_bell_too_many_finds_nothing_to_carry(granted, worked):
    for run in granted:
        assert Run.objects.claim(run.pk, "a rival")
    operations.carry_granted()
    assert worked == []
