"""Each check of the reconciler by itself: what it finds, what it leaves, and what it records."""

from datetime import timedelta

import pytest
from django.utils import timezone

from host.units.control_units import API
from runs.engine.events import RECONCILER
from runs.lifecycle import reconciler
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import LeaseState
from slots.runtime import surface
from tests.factories import LeaseFactory, RunFactory, SlotFactory
from tests.runs.lifecycle.test_dry_run import AGO, config, folder, grant, whole_config

__all__ = ["config", "folder", "whole_config"]


def list_repairs():
    """Return the text, the run and the slot of each repair; all are the reconciler's."""
    repairs = Event.objects.filter(kind="repaired").order_by("pk")
    assert {event.actor for event in repairs} <= {RECONCILER}
    return [(event.text, event.run_id, event.slot_id) for event in repairs]


@pytest.fixture
def calls(monkeypatch):
    """The calls of replaced functions in their order, and how to replace one by its result."""
    made = []

    def replace(module, name, result):
        def call(*arguments, **options):
            made.append((name, *arguments, *options.items()))
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(module, name, call)

    return made, replace


def test_a_pass_makes_each_check_in_order_and_repairs_unless_it_is_told_not_to(config, calls):
    made, replace = calls
    names = [
        "_end_expired_leases",
        "_finish_cleaning",
        "_enqueue_abandoned_runs",
        "_end_foreign_listeners",
        "_check_slots",
        "_report_foreign_listeners",
        "_remove_abandoned_gates",
        "_remove_templates",
        "_remove_abandoned_folders",
        "_check_production",
        "_continue_deployments",
    ]
    for name in names:
        replace(reconciler, name, [f"found by {name}"])
    found = [f"found by {name}" for name in names]
    assert reconciler.reconcile(config) == reconciler.reconcile(config, dry_run=True) == found
    assert made == [(name, config, is_dry) for is_dry in (False, True) for name in names]


# -- the quick passes -----------------------------------------------------------------------------


def test_ends_of_production_are_told_before_it_is_repaired(config, calls):
    made, replace = calls
    replace(reconciler.process_ends, "report_ends_of_production", None)
    replace(reconciler.deployments, "repair_production", ["it differs"])
    assert reconciler.repair_production(config) == ["it differs"]
    assert made == [
        ("report_ends_of_production", config),
        ("repair_production", config, False),
    ]
    assert list_repairs() == [("it differs", None, "")]


def test_a_dry_run_tells_no_end_of_production(config, calls):
    made, replace = calls
    replace(reconciler.process_ends, "report_ends_of_production", None)
    replace(reconciler.deployments, "repair_production", ["it differs"])
    assert list(reconciler._check_production(config, True)) == ["it differs"]
    assert (made, list_repairs()) == ([("repair_production", config, True)], [])


def test_interrupted_deployments_are_continued_and_recorded(config, calls):
    made, replace = calls
    replace(reconciler.deployments, "continue_interrupted_deployments", ["it is continued"])
    assert reconciler.continue_deployments(config) == ["it is continued"]
    assert made == [("continue_interrupted_deployments", config, False)]
    assert list_repairs() == [("it is continued", None, "")]


@pytest.mark.parametrize("is_api_dead", [False, True])
def test_units_that_were_started_again_are_recorded(config, calls, is_api_dead):
    made, replace = calls
    replace(reconciler.web_units, "start_dead_units", ["ouroboros-web@main"])
    replace(reconciler.control_units, "start_if_dead", is_api_dead)
    names = ["ouroboros-web@main", *([API] if is_api_dead else [])]
    texts = [f"{name} had died: started again" for name in names]
    assert reconciler.start_dead_units(config) == texts
    assert made == [("start_dead_units", config), ("start_if_dead", config, API)]
    assert list_repairs() == [(text, None, "") for text in texts]


def test_the_quick_repair_looks_at_listeners_only_and_lifts_the_freeze(config, calls):
    made, replace = calls
    replace(reconciler.foreign_listeners, "end_foreign_listeners", [])
    replace(reconciler, "_check_slots", [])
    replace(reconciler.merge_queue, "sync_rollback_freeze", ["shipping goes on"])
    assert reconciler.repair_quickly(config) == ["shipping goes on"]
    assert made == [
        ("end_foreign_listeners", config, ("dry_run", False), ("is_quick", True)),
        ("_check_slots", config, False),
        ("sync_rollback_freeze", config),
    ]


# -- leases and claims ----------------------------------------------------------------------------


def test_an_expired_lease_is_ended_by_the_reconciler(config, calls):
    _, replace = calls
    replace(reconciler.reaper, "clean_and_finish", True)
    run = grant(Status.PREVIEW_READY, expires_at=timezone.now() - AGO)
    slot_id = config.slots[0].slot_id
    text = f"the lease on {slot_id} had expired"
    assert list(reconciler._end_expired_leases(config, False)) == [text]
    assert Event.objects.get(run=run, kind="lease_ended").actor == RECONCILER


@pytest.mark.parametrize(
    ("status", "state", "is_found"),
    [
        (Status.PREPARING, LeaseState.ENDING, False),
        (Status.PREVIEW_READY, LeaseState.ENDING, False),
        (Status.APPROVED, LeaseState.ENDING, False),
        (Status.MERGING, LeaseState.ENDING, False),
        (Status.DEPLOYING, LeaseState.ENDING, True),  # its slot was taken by force
        (Status.CANCELED, LeaseState.ENDING, True),
        (Status.CANCELED, LeaseState.ENDED, False),
    ],
)
def test_only_slots_that_nobody_cleans_are_cleaned(config, calls, status, state, is_found):
    made, replace = calls
    replace(reconciler.cleanup, "clean_and_finish", True)
    ended_at = timezone.now() if state == LeaseState.ENDED else None
    run = grant(status, state=state, ending_at=timezone.now() - AGO, ended_at=ended_at)
    lease, slot_id = Lease.objects.get(run=run), config.slots[0].slot_id
    text = f"{slot_id} was not cleaned after its lease"
    for dry_run in (True, False):
        assert list(reconciler._finish_cleaning(config, dry_run)) == ([text] if is_found else [])
    assert made == ([("clean_and_finish", config, lease)] if is_found else [])
    assert list_repairs() == ([(text, run.pk, slot_id)] if is_found else [])


@pytest.mark.parametrize(("minutes", "is_found"), [(59, False), (61, True)])
def test_a_slot_is_cleaned_once_the_process_that_ended_its_lease_had_its_time(
    config, monkeypatch, minutes, is_found
):
    monkeypatch.setattr(reconciler.cleanup, "CLEAN_SECONDS", 3600.0)
    ending_at = timezone.now() - timedelta(minutes=minutes)
    grant(Status.CANCELED, state=LeaseState.ENDING, ending_at=ending_at)
    assert bool(list(reconciler._finish_cleaning(config, True))) is is_found


def test_a_slot_that_is_still_not_clean_is_reported_and_no_repair(config, calls):
    _, replace = calls
    replace(reconciler.cleanup, "clean_and_finish", False)
    grant(Status.CANCELED, state=LeaseState.ENDING, ending_at=timezone.now() - AGO)
    assert len(list(reconciler._finish_cleaning(config, False))) == 1
    assert list_repairs() == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_runs_without_a_claim_are_enqueued_unless_it_is_a_dry_run(config, calls, dry_run):
    made, replace = calls
    replace(reconciler.execution, "enqueue_unclaimed_runs", 0)
    assert list(reconciler._enqueue_abandoned_runs(config, dry_run)) == []
    assert made == ([] if dry_run else [("enqueue_unclaimed_runs",)])


def test_leases_and_claims_of_another_host_are_left_to_it(config):
    elsewhere = SlotFactory(host="elsewhere", slot_id=config.slots[0].slot_id)
    left = {"state": LeaseState.ENDING, "ending_at": timezone.now() - AGO}
    ended = RunFactory(status=Status.CANCELED)
    LeaseFactory(held=True, slot=elsewhere, run=ended, **left)
    dead, here = RunFactory(status=Status.PREPARING), grant(Status.PREPARING)
    LeaseFactory(held=True, run=dead, slot=SlotFactory(host="elsewhere", slot_id="preview-2"))
    for run in (dead, here):
        assert Run.objects.claim(run.pk, "a worker that died")
    Run.objects.update(claim_expires_at=timezone.now() - AGO)
    assert list(reconciler._finish_cleaning(config, True)) == []
    text = f"the claim of a worker that died on run {here.pk} has expired"
    assert list(reconciler._enqueue_abandoned_runs(config, True)) == [text]


# -- slots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("status", "state", "is_checked"),
    [
        (Status.PREPARING, LeaseState.HELD, False),
        (Status.APPROVED, LeaseState.HELD, True),
        (Status.PREPARING, LeaseState.ENDING, False),
        (Status.PREVIEW_READY, LeaseState.ENDING, False),
        (Status.CANCELED, LeaseState.ENDING, False),
    ],
)
def test_the_backend_of_a_held_slot_is_checked_once_its_run_is_prepared(
    config, calls, status, state, is_checked, dry_run
):
    made, replace = calls
    replace(reconciler.backend_supervision, "check_backend", ["it is not healthy"])
    replace(reconciler, "_clean_free_slot", [])
    run = grant(status, state=state, ending_at=timezone.now())
    found = list(reconciler._check_slots(config, dry_run))
    assert found == (["it is not healthy"] if is_checked else [])
    checked = [call for call in made if call[0] == "check_backend"]
    slot, lease = config.slots[0], Lease.objects.get(run=run)
    call = ("check_backend", config, slot, lease, ("dry_run", dry_run))
    assert checked == ([call] if is_checked else [])


def test_only_free_slots_that_are_ours_and_not_quarantined_are_cleaned(config, calls):
    made, replace = calls
    replace(reconciler, "find_leftovers", [])
    first, second, third = (slot.slot_id for slot in config.slots)
    SlotFactory(host="elsewhere", slot_id=first)
    SlotFactory(number=9, slot_id="preview-9", host=config.host_name)  # not configured any more
    Slot.objects.filter(slot_id=second).update(quarantined_at=timezone.now())
    Slot.objects.filter(slot_id=third).update(quarantined_at=timezone.now(), is_being_cleaned=True)
    found = list(reconciler._check_slots(config, True))
    assert found == [f"The cleaning of {third} was interrupted."]
    assert sorted(slot.slot_id for _, _, slot in made) == [first, third]


@pytest.mark.parametrize("is_cleaned", [False, True])
def test_what_was_left_on_a_free_slot_is_recorded_once_it_is_cleaned(config, calls, is_cleaned):
    made, replace = calls
    replace(reconciler, "find_leftovers", ["A file is left.", "So is a database."])
    replace(reconciler.cleanup, "clean_free_slot", is_cleaned)
    slot = config.slots[0]
    row = Slot.objects.get(slot_id=slot.slot_id)
    row.is_being_cleaned = True
    found = list(reconciler._clean_free_slot(config, row, slot, False))
    assert found == (["A file is left.", "So is a database."] if is_cleaned else [])
    assert list_repairs() == [(text, None, slot.slot_id) for text in found]
    reason = ("reason", "being cleaned: A file is left. So is a database.")
    assert made[1:] == [("clean_free_slot", config, row, reason, ("actor", RECONCILER))]


def test_a_preview_that_its_slot_does_not_show_is_prepared_again(config):
    run, slot = grant(Status.PREVIEW_READY), config.slots[0]
    lease = Lease.objects.select_related("run", "slot").get(run=run)
    surface.show_live(config, slot, RunFactory().pk, "0" * 40, None)
    text = f"{slot.slot_id} does not show run {run.pk}, which holds it"
    assert reconciler._prepare_missing_preview(slot, lease, True) == [text]
    assert reconciler._prepare_missing_preview(slot, lease, False) == [text]
    run.refresh_from_db()
    assert (run.status, run.generation) == (Status.PREPARING, lease.run.generation + 1)
    repair = (f"{text}: it is prepared again", run.pk, slot.slot_id)
    assert list_repairs() == [repair]
    # It is being prepared by now: the row that was read before is out of date.
    assert reconciler._prepare_missing_preview(slot, lease, False) == [text]
    assert list_repairs() == [repair]


# -- what was recorded ----------------------------------------------------------------------------


def test_a_difference_is_recorded_again_after_the_last_end_of_a_process(db):
    def record(kind, text, **fields):
        now = timezone.now()
        return Event.objects.create(kind=kind, text=text, actor=RECONCILER, at=now, **fields)

    record("process_ended", "it ended")
    # Of a run, and of another kind: neither says that this was recorded.
    record("repaired", "it did not start", run=RunFactory())
    record("process_ended", "it did not start", run=RunFactory())
    record("backend_down", "it did not start")
    for _ in range(2):
        assert reconciler._record_new(["it did not start"], False) == ["it did not start"]
        assert Event.objects.filter(kind="repaired", run=None).count() == 1
    record("process_ended", "it ended again")
    for _ in range(2):
        reconciler._record_new(["it did not start"], False)
        assert Event.objects.filter(kind="repaired", run=None).count() == 2
    assert reconciler._record_new([], False) == []


@pytest.mark.parametrize(("minutes", "count"), [(59, 1), (61, 2)])
def test_a_difference_is_recorded_again_after_its_time(db, monkeypatch, minutes, count):
    monkeypatch.setattr(reconciler, "REPEAT_EVENT_SECONDS", 3600)
    reconciler._record_new(["it did not start"], False)
    Event.objects.update(at=timezone.now() - timedelta(minutes=minutes))
    reconciler._record_new(["it did not start"], False)
    assert len(list_repairs()) == count
