"""The merge queue's order during freezes, and git, which is never asked under the grant lock."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from runs import freezes, merge_queue
from runs.models import Run
from runs.rules import Status
from tests.factories import FreezeFactory, RunFactory

pytestmark = pytest.mark.django_db


def approve_run(minutes_ago, **fields):
    at = timezone.now() - timedelta(minutes=minutes_ago)
    return RunFactory(status=Status.APPROVED, approved_at=at, **fields)


def count_advisory_locks():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@pytest.fixture
def repairing(monkeypatch):
    """The runs that git finds to restore the files; how many locks were held at each question."""
    found, locks = set(), []

    def restores_files(config, run, failed):
        locks.append(count_advisory_locks())
        return run.pk in found

    monkeypatch.setattr(freezes, "_restores_files", restores_files)
    monkeypatch.setattr("runs.leasing.grants.explain_refusal", lambda: "")
    return found, locks


def test_git_is_asked_before_the_grant_lock_is_taken(repairing):
    found, locks = repairing
    run = approve_run(1)
    FreezeFactory(run=RunFactory(status=Status.FAILED, failure_code="CHECKS_FAILED"))
    found.add(run.pk)
    claim = Run.objects.claim(run.pk, "a worker")
    assert merge_queue.begin_shipping(settings.OROBOROS, run, claim)
    assert locks
    assert set(locks) == {0}
    assert count_advisory_locks() == 1  # the lock lasts until the end of this test's transaction


def test_a_run_that_repairs_the_cause_ships_ahead_of_one_that_does_not(repairing):
    found, _ = repairing
    approve_run(2)
    repair = approve_run(1)
    FreezeFactory(run=RunFactory(status=Status.FAILED, failure_code="CHECKS_FAILED"))
    assert merge_queue.get_next_run(settings.OROBOROS) is None
    found.add(repair.pk)
    assert merge_queue.get_next_run(settings.OROBOROS) == repair
    entry = merge_queue.read_merge_queue(settings.OROBOROS)[repair.pk]
    assert (entry.position, entry.is_frozen) == (1, False)


def test_a_freeze_that_came_after_git_was_asked_stops_the_run(repairing):
    run = approve_run(1)
    allowed = merge_queue.find_runs_allowed_during_freeze(settings.OROBOROS, [run])
    FreezeFactory(run=RunFactory(status=Status.FAILED, failure_code="CHECKS_FAILED"))
    repairing[0].add(run.pk)
    assert merge_queue._find_next([run], allowed) is None
