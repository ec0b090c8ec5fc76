"""The reconciler's checks of ports, merge gates and templates by themselves."""

from types import SimpleNamespace

import pytest
from django.utils import timezone

from host.errors import Refused
from host.postgres import guard
from host.postgres.administration import DatabaseAdmin
from host.units.foreign_listeners import ForeignListeners
from host.units.stack_ports import POSTGRES, list_ports
from runs.lifecycle import reconciler
from runs.models import Precheck
from runs.pipelines import merge_gate
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState
from tests.factories import LeaseFactory, RunFactory, SlotFactory
from tests.runs.lifecycle.test_dry_run import AGO, config, folder, grant, whole_config
from tests.runs.lifecycle.test_reconciler_checks import calls, list_repairs

__all__ = ["calls", "config", "folder", "whole_config"]


# -- ports ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_listener_that_stays_is_recorded_unless_it_is_a_dry_run(config, calls, dry_run):
    made, replace = calls
    stays = ForeignListeners("a job listened", slot_id="", is_ended=False)
    replace(reconciler.foreign_listeners, "end_foreign_listeners", [stays])
    checks = (reconciler._end_listeners, reconciler._end_foreign_listeners)
    assert [list(check(config, dry_run)) for check in checks] == [["a job listened"]] * 2
    how = ("end_foreign_listeners", config, ("dry_run", dry_run))
    assert made == [(*how, ("is_quick", True)), how]
    assert list_repairs() == ([] if dry_run else [("a job listened", None, "")])


def test_what_used_up_the_ports_is_recorded_whether_it_was_ended_or_stays(config, calls):
    _, replace = calls
    run, slot_id = grant(Status.PREVIEW_READY), config.slots[0].slot_id
    ended = ForeignListeners("the preview held so many ports", slot_id, is_ended=True)
    stays = ForeignListeners("a job held so many ports", slot_id="", is_ended=False)
    replace(reconciler.foreign_listeners, "end_port_exhaustion", [ended, stays])
    assert reconciler.free_local_ports(config) == [ended.text, stays.text]
    assert list_repairs() == [(ended.text, run.pk, slot_id), (stays.text, None, "")]


@pytest.mark.parametrize("name", ["_end_listeners", "_end_foreign_listeners"])
def test_a_preview_that_was_ended_for_a_port_is_told_to_its_run(config, calls, name):
    _, replace = calls
    run, slot_id = grant(Status.PREVIEW_READY), config.slots[0].slot_id
    ended = ForeignListeners("the preview listened", slot_id, is_ended=True)
    replace(reconciler.foreign_listeners, "end_foreign_listeners", [ended])
    assert list(getattr(reconciler, name)(config, False)) == [ended.text]
    assert list_repairs() == [(ended.text, run.pk, slot_id)]


def test_what_holds_a_port_of_ours_is_named_and_the_databases_is_left_out(config, monkeypatch):
    asked = []

    def read_status(name, port):
        asked.append((name, port))
        listening = "foreign" if port == config.web_port else "ours"
        return SimpleNamespace(listening=listening, port_holder="nginx (pid 7)")

    manager = SimpleNamespace(status=read_status)
    monkeypatch.setattr(
        reconciler.managers, "get_manager", lambda given: {config.var: manager}[given.var]
    )
    assert list(reconciler._report_foreign_listeners(config, False)) == [
        f"port {config.web_port} of ouroboros-web@main is held by nginx (pid 7), which is not ours"
    ]
    ports = [(name, port) for _, port, name in list_ports(config)]
    assert asked == [one for one in ports if one[0] != POSTGRES] != ports


def test_an_ended_listener_is_told_to_the_run_that_holds_its_slot(config):
    first, second = (slot.slot_id for slot in config.slots[:2])
    elsewhere = SlotFactory(host="elsewhere", slot_id=first)
    LeaseFactory(held=True, slot=elsewhere, requested_at=timezone.now() - AGO)
    before = grant(Status.CANCELED, state=LeaseState.ENDED, ended_at=timezone.now())
    runs = {first: grant(Status.PREVIEW_READY), second: grant(Status.PREVIEW_READY)}
    assert Lease.objects.get(run=before).slot == Lease.objects.get(run=runs[first]).slot
    ended = [ForeignListeners(f"{name} listened", name, is_ended=True) for name in runs]
    ended.append(ForeignListeners("production listened", "", is_ended=True))
    texts = [one.text for one in ended]
    assert list(reconciler._record_ended(config, ended, False)) == texts
    assert list_repairs() == [
        (f"{first} listened", runs[first].pk, first),
        (f"{second} listened", runs[second].pk, second),
        ("production listened", None, ""),
    ]


# -- gates, folders and templates -----------------------------------------------------------------


def test_the_gate_of_an_open_precheck_stays(config, calls):
    made, replace = calls
    replace(reconciler.merge_gate, "remove_gate", None)
    opened, closed = (
        Precheck.objects.request(RunFactory(), requested_by="bob")[0] for _ in range(2)
    )
    Precheck.objects.filter(pk=closed.pk).update(status="passed")
    for precheck in (opened, closed):
        (config.var / "gates" / str(precheck.pk) / "tree").mkdir(parents=True)
    text = f"the merge gate of run {closed.pk} was not removed"
    assert list(reconciler._remove_abandoned_gates(config, True)) == [text]
    assert list(reconciler._remove_abandoned_gates(config, False)) == [text]
    assert made == [("remove_gate", config, closed.pk)]
    assert list_repairs() == [(text, None, "")]


def test_the_database_of_a_gate_is_removed_without_its_folder(config):
    ended, ships = RunFactory(status=Status.CANCELED), RunFactory(status=Status.MERGING)
    admin = DatabaseAdmin(config)
    gates = [guard.gate_name(run.pk) for run in (ended, ships)]
    for gate in gates:
        admin.ensure_role(gate)
        admin.create(gate, gate)
    try:
        assert list(reconciler._remove_abandoned_gates(config, False)) == [
            f"the merge gate of run {ended.pk} was not removed"
        ]
        assert [admin.exists(gate) for gate in gates] == [False, True]
    finally:
        merge_gate.remove_gate(config, ships.pk)


def test_without_the_database_server_the_gates_folders_are_found(config, calls):
    _, replace = calls
    replace(DatabaseAdmin, "list_pipeline_databases", Refused("database_unavailable", "no answer"))
    run = RunFactory(status=Status.CANCELED)
    (config.var / "gates" / str(run.pk)).mkdir(parents=True)
    text = f"the merge gate of run {run.pk} was not removed"
    assert list(reconciler._remove_abandoned_gates(config, True)) == [text]


@pytest.mark.parametrize("dry_run", [False, True])
def test_templates_beyond_the_cap_are_removed(config, calls, dry_run):
    made, replace = calls
    replace(reconciler.retention, "remove_templates", ["dropped"])
    assert list(reconciler._remove_templates(config, dry_run)) == ["dropped"]
    assert made == [("remove_templates", config, dry_run)]
