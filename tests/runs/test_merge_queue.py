"""The merge queue's order during freezes, and git, which is never asked under the grant lock."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from host.errors import Refused
from runs import freezes, merge_queue
from runs.models import Event, Run
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
        assert config is settings.OROBOROS
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


@pytest.fixture
def enqueued(monkeypatch):
    """The ids of the runs that were enqueued."""
    found = []
    monkeypatch.setattr(merge_queue, "enqueue", found.append)
    return found


def test_queue_has_the_run_that_ships_first_and_the_others_in_the_order_of_approval():
    runs = [approve_run(1), approve_run(3), approve_run(2)]
    ships = approve_run(0)
    Run.objects.filter(pk=ships.pk).update(status=Status.MERGING)
    RunFactory(status=Status.PREVIEW_READY)
    order = [ships, runs[1], runs[2], runs[0]]
    assert merge_queue.list_queue() == order
    assert merge_queue.get_next_run(settings.OROBOROS) == ships
    assert [merge_queue.is_next(settings.OROBOROS, run) for run in order] == [True] + [False] * 3
    entries = merge_queue.read_merge_queue(settings.OROBOROS)
    assert [(one.run, one.position) for one in entries.values()] == [
        *zip(order, (1, 2, 3, 4), strict=True)
    ]
    assert [one.behind for one in entries.values()] == [None, *order[:3]]
    text = entries[runs[2].pk].describe_position()
    assert text == f"Approved; number 3 in the merge queue, after {runs[1]}."


def test_empty_queue_has_no_next_run(repairing, enqueued):
    assert merge_queue.get_next_run(settings.OROBOROS) is None
    assert not merge_queue.is_next(settings.OROBOROS, RunFactory())
    merge_queue.enqueue_next(settings.OROBOROS)
    assert (enqueued, merge_queue.read_merge_queue(settings.OROBOROS)) == ([], {})


@pytest.mark.parametrize("ahead", ["nothing", "an approval", "a run that ships", "a freeze"])
def test_run_begins_to_ship_only_if_it_is_next(repairing, ahead):
    run = approve_run(1)
    if ahead == "a freeze":
        FreezeFactory()
    elif ahead != "nothing":
        other = approve_run(2 if ahead == "an approval" else 0)
        if ahead == "a run that ships":
            Run.objects.filter(pk=other.pk).update(status=Status.DEPLOYING)
    claim = Run.objects.claim(run.pk, "a worker")
    begins = merge_queue.begin_shipping(settings.OROBOROS, run, claim)
    run.refresh_from_db()
    is_free = ahead == "nothing"
    assert (begins, run.status) == (is_free, Status.MERGING if is_free else Status.APPROVED)


def test_run_whose_approval_was_voided_meanwhile_does_not_begin_to_ship(repairing):
    run = approve_run(1)
    claim = Run.objects.claim(run.pk, "a worker")
    Run.objects.filter(pk=run.pk).update(status=Status.PREPARING)
    assert not merge_queue.begin_shipping(settings.OROBOROS, run, claim)
    assert run.status == Status.PREPARING


def test_next_run_is_enqueued_unless_a_worker_has_it(repairing, enqueued):
    run = approve_run(2)
    approve_run(1)
    merge_queue.enqueue_next(settings.OROBOROS)
    assert enqueued == [run.pk]
    Run.objects.claim(run.pk, "a worker")
    merge_queue.enqueue_next(settings.OROBOROS)
    assert enqueued == [run.pk]


def test_unfreezing_lifts_every_freeze_and_enqueues_the_next_run(repairing, enqueued):
    run = approve_run(1)
    made = [FreezeFactory(), FreezeFactory()]
    with pytest.raises(Refused, match="Say why shipping may go on"):
        merge_queue.unfreeze_shipping(settings.OROBOROS, actor="ada", reason=" ")
    entry = merge_queue.read_merge_queue(settings.OROBOROS)[run.pk]
    assert (entry.is_frozen, len(entry.describe_position().splitlines())) == (True, 3)
    assert merge_queue.unfreeze_shipping(settings.OROBOROS, actor="ada", reason="repaired") == 2
    for freeze in made:
        freeze.refresh_from_db()
        assert (freeze.lifted_by, freeze.lift_reason) == ("ada", "repaired")
    event = Event.objects.get(kind="unfrozen")
    assert (event.actor, event.text, enqueued) == ("ada", "repaired", [run.pk])


def test_a_free_run_is_behind_free_ones_only_and_a_stopped_one_behind_all(repairing):
    runs = [approve_run(minutes) for minutes in (5, 4, 3, 2)]
    FreezeFactory(run=RunFactory(status=Status.FAILED, failure_code="CHECKS_FAILED"), reason="why")
    repairing[0].update(run.pk for run in runs[1:3])
    entries = merge_queue.read_merge_queue(settings.OROBOROS)
    assert [(one.position, one.behind, one.is_frozen) for one in entries.values()] == [
        (1, None, True),
        (1, None, False),
        (2, runs[1], False),
        (4, runs[2], True),
    ]
    texts = [one.describe_position().splitlines()[0] for one in entries.values()]
    assert texts == [
        "Approved; next to ship after the freeze.",
        "Approved; next to ship.",
        f"Approved; number 2 in the merge queue, after {runs[1]}.",
        f"Approved; number 4 in the merge queue, after {runs[2]}.",
    ]
    assert entries[runs[3].pk].describe_position().splitlines()[1].endswith(": why")


@pytest.mark.parametrize("is_lifted", [False, True])
def test_the_next_run_is_enqueued_when_the_freeze_of_a_rollback_is_lifted(
    repairing, enqueued, monkeypatch, is_lifted
):
    run = approve_run(1)
    monkeypatch.setattr(merge_queue.rollback_state, "sync_rollback_freeze", lambda _: is_lifted)
    said = merge_queue.sync_rollback_freeze(settings.OROBOROS)
    sentence = "production is not rolled back any more: shipping goes on"
    assert (said, enqueued) == (([sentence], [run.pk]) if is_lifted else ([], []))


def test_a_freeze_during_which_a_run_may_ship_holds_for_its_commit_only(repairing):
    run = approve_run(1)
    repairing[0].add(run.pk)
    failed = RunFactory(status=Status.FAILED, failure_code="CHECKS_FAILED")
    freeze = FreezeFactory(run=failed)
    allowed = merge_queue.find_runs_allowed_during_freeze(settings.OROBOROS, [run])
    assert allowed == {(run.pk, run.commit_sha, freeze.pk)}
    assert merge_queue._find_next([run], allowed) == run
    run.commit_sha = "f" * 40
    assert merge_queue._find_next([run], allowed) is None
    assert merge_queue.find_runs_allowed_during_freeze(settings.OROBOROS, []) == frozenset()
