"""The reconciler on real processes: a difference is reported, repaired, and then gone."""

import os
import shutil
import signal
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_q.models import OrmQ

from host.deadline import Deadline
from host.postgres import guard
from host.postgres.administration import DatabaseAdmin
from host.process import runner, socket_owner
from host.units.foreign_listeners import ForeignListeners
from host.units.local_manager import LocalManager
from runs.leasing import backend_supervision, leases, maintenance
from runs.leasing import cleanup as leasing
from runs.leasing.cleanup import clean_and_finish, lock_slot
from runs.lifecycle import reconciler
from runs.lifecycle.supervisor import Supervisor
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import (
    RESTART_DELAYS_SECONDS,
    SILENCE_SECONDS,
    UNHEALTHY_GRACE_SECONDS,
    LeaseState,
)
from slots.runtime import backend, cleanup, surface, web_units, worktree
from tests.factories import DeploymentFactory, ReleaseFactory, RunFactory
from tests.host.processes import wait_for
from tests.host.units import foreign_listener
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.conftest import config as whole_config
from tests.slots.runtime.conftest import folder
from tests.slots.runtime.test_backend import RUN, SERVE, write

__all__ = ["folder", "whole_config"]

# It answers with an error while the file `sick` exists.
SICKLY = SERVE.replace("200 if", "503 if os.path.exists('sick') else 200 if")
DIES = 'print("I cannot go on", flush=True)\nsys.exit(3)\n'


@pytest.fixture
def config(whole_config, settings):
    """One slot and no release, so that nothing else differs."""
    settings.OROBOROS = replace(whole_config, slots=whole_config.slots[:1])
    return settings.OROBOROS


@pytest.fixture
def place(config):
    """The slot on the machine, whose processes are ended after the test."""
    yield config.slots[0]
    backend.stop(config, config.slots[0])


@pytest.fixture
def row(db, config, settings):
    return Slot.objects.create(slot_id="preview-1", number=1, host=settings.HOST_NAME)


@pytest.fixture
def clean_slot(config, place, row):
    assert cleanup.clean_slot(config, place) == []
    return row


@pytest.fixture
def preview(config, place, clean_slot):
    """A run at preview_ready whose backend runs and which the slot shows."""
    run = RunFactory()
    leases.request_slot(run, actor="alice")
    Run.objects.filter(pk=run.pk).update(status=Status.PREVIEW_READY)
    OrmQ.objects.all().delete()
    write(config, place, SERVE + RUN, run=str(run.pk))
    backend.start(config, place)
    surface.show_live(config, place, run.pk, "0" * 40, None)
    return Run.objects.get(pk=run.pk)


def kill(config, place):
    os.kill(backend.status(config, place).unit_status.pid, signal.SIGKILL)
    while backend.status(config, place).unit_status.is_active:
        pass


def lease_of(run):
    return Lease.objects.get(run=run)


def due_now(run):
    Lease.objects.filter(run=run).update(restart_at=timezone.now() - timedelta(seconds=1))


def events(kind):
    return list(Event.objects.filter(kind=kind).order_by("id").values_list("text", flat=True))


def test_a_dry_run_reports_differences_and_changes_nothing(config, place, row):
    found = reconciler.reconcile(config, dry_run=True)
    assert "preview-1 has no idle page." in found
    assert not backend.status(config, place).unit_status.is_active
    assert Event.objects.count() == 0


def test_a_free_slot_without_an_idle_page_is_repaired_once(config, place, row):
    found = reconciler.reconcile(config)
    assert "preview-1 has no idle page." in found
    assert backend.status(config, place).kind == "idle"
    assert "preview-1 has no idle page." in events("repaired")
    row.refresh_from_db()
    assert row.quarantined_at is None
    assert reconciler.reconcile(config) == []


def test_an_unreadable_spec_is_reported_and_the_other_checks_run(config, place, preview):
    (place.folder / "spec.json").write_text("{}")
    with echo(config.web_port):
        found = reconciler.reconcile(config)
    assert "spec.json cannot be read" in found[0]
    assert f"port {config.web_port} of ouroboros-web@main is held by" in found[1]
    leases.begin_ending(preview, reason="", to=Status.CANCELED, actor="alice")
    assert clean_and_finish(config, lease_of(preview))
    assert reconciler.reconcile(config) == []


def test_leftovers_on_a_free_slot_are_removed(config, place, clean_slot):
    admin = DatabaseAdmin(config)
    admin.ensure_role(place.database)
    admin.create(place.database, place.database)
    worktree.path(place).mkdir()
    surface.show_live(config, place, "17", "0" * 40, None)
    assert len(reconciler.reconcile(config)) == 3
    assert cleanup.find_leftovers(config, place) == []


def test_a_slot_that_cannot_be_cleaned_stays_quarantined(config, place, clean_slot, monkeypatch):
    monkeypatch.setattr("runs.leasing.cleanup.CLEAN_SECONDS", 0.1)
    backend.stop(config, place)
    backend.remove_backend(config, place)
    with echo(place.backend_port):
        found = reconciler.reconcile(config)
        assert any("stays quarantined" in sentence for sentence in found)
        assert any("is held by" in sentence for sentence in found)
        clean_slot.refresh_from_db()
        assert str(place.backend_port) in clean_slot.quarantine_reason or clean_slot.quarantined_at
        assert leases.request_slot(RunFactory(), actor="alice").state == LeaseState.WAITING


@pytest.mark.parametrize("removes_files", [False, True])
def test_a_slot_whose_cleaning_was_killed_is_granted_again(
    config, place, clean_slot, monkeypatch, removes_files
):
    def die(*given):
        if removes_files:
            cleanup.clean_slot(*given)
        raise KeyboardInterrupt  # as SIGKILL, it lets nothing of ours run on

    worktree.path(place).mkdir()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("runs.leasing.cleanup.clean_slot", die)
        reconciler.repair_quickly(config)
    waiting = leases.request_slot(RunFactory(prepare=False), actor="alice")
    assert waiting.state == LeaseState.WAITING
    assert len(reconciler.reconcile(config, dry_run=True)) == 1
    assert len(reconciler.repair_quickly(config)) == 1
    waiting.refresh_from_db()
    assert (waiting.state, worktree.path(place).exists()) == (LeaseState.HELD, False)
    assert (events("quarantined"), len(events("repaired"))) == ([], 1)


def test_a_slot_that_another_process_cleans_is_left_to_it(config, place, clean_slot):
    worktree.path(place).mkdir()
    clean_slot.begin_cleaning(reason="being cleaned")
    with lock_slot(place, Deadline(0)):
        assert reconciler.repair_quickly(config) == []
    assert worktree.path(place).exists()
    assert len(reconciler.repair_quickly(config)) == 1
    clean_slot.refresh_from_db()
    assert clean_slot.quarantined_at is None


@pytest.mark.parametrize("moment", ["before the cleaning", "while it is cleaned"])
def test_a_persons_quarantine_is_not_lifted_by_a_cleaning(
    config, place, clean_slot, monkeypatch, moment
):
    def quarantine(function):
        def run(*given):
            assert maintenance.quarantine(Slot.objects.get(), reason="a look", actor="alice")
            return function(*given)

        return run

    worktree.path(place).mkdir()
    module, name = (
        (reconciler, "find_leftovers") if moment.startswith("before") else (leasing, "clean_slot")
    )
    monkeypatch.setattr(module, name, quarantine(getattr(module, name)))
    reconciler.repair_quickly(config)
    clean_slot.refresh_from_db()
    assert (clean_slot.quarantine_reason, clean_slot.is_being_cleaned) == ("a look", False)
    assert leases.request_slot(RunFactory(), actor="alice").state == LeaseState.WAITING


def test_a_slot_that_was_granted_meanwhile_is_not_cleaned(config, place, row, monkeypatch):
    real = reconciler.find_leftovers

    def slow(*given):
        left = real(*given)
        leases.request_slot(RunFactory(prepare=False), actor="alice")
        return left

    monkeypatch.setattr(reconciler, "find_leftovers", slow)
    reconciler.reconcile(config)
    row.refresh_from_db()
    assert row.quarantined_at is None
    assert Lease.objects.get().state == LeaseState.HELD


def test_a_healthy_preview_makes_no_event(config, preview):
    assert reconciler.reconcile(config) == []
    assert OrmQ.objects.count() == 0


def test_a_dead_backend_is_reported_and_restarted(config, place, preview):
    kill(config, place)
    found = reconciler.reconcile(config)
    assert found == ["the backend of preview-1 is not running; it is started again"]
    assert events("backend_down") == ["the backend of preview-1 is not running"]
    assert OrmQ.objects.count() == 1
    assert reconciler.reconcile(config) == ["the backend of preview-1 is not running"]
    assert OrmQ.objects.count() == 1  # one restart at a time
    backend_supervision.restart_backend(lease_of(preview).pk, 1)
    assert backend.status(config, place).kind == "run"
    assert events("backend_restarted") == ["the backend of preview-1 was started again"]
    assert reconciler.reconcile(config) == []


@pytest.fixture
def sick(config, place, preview):
    """The preview's backend runs and answers with errors while this file is there."""
    write(config, place, SICKLY + RUN, run=str(preview.pk))
    backend.restart(config, place)
    file = worktree.path(place) / "sick"
    file.touch()
    return file


def test_a_backend_that_dies_after_a_failed_probe_is_restarted_at_once(
    config, place, preview, sick
):
    assert "is not healthy" in reconciler.reconcile(config)[0]
    assert (OrmQ.objects.count(), events("backend_down")) == (0, [])
    kill(config, place)
    backend_supervision.check_backends(config)
    assert events("backend_down") == ["the backend of preview-1 is not running"]
    assert (OrmQ.objects.count(), lease_of(preview).unhealthy_at) == (1, None)


def test_a_failed_probe_soon_after_a_restart_restarts_nothing(config, place, preview, sick):
    Lease.objects.filter(run=preview).update(restarts=1)
    due_now(preview)
    reconciler.reconcile(config)
    assert lease_of(preview).unhealthy_at is not None
    assert (OrmQ.objects.count(), events("backend_down")) == (0, [])
    sick.unlink()
    assert reconciler.reconcile(config) == []
    assert (lease_of(preview).restarts, lease_of(preview).unhealthy_at) == (1, None)


def test_a_backend_that_runs_and_does_not_answer_is_told_once_before_its_restart(
    config, place, preview, sick, monkeypatch
):
    monkeypatch.setattr("slots.rules.UNHEALTHY_GRACE_SECONDS", 3600.0)
    reconciler.reconcile(config)
    assert events("backend_silent") == []
    since = timezone.now() - timedelta(seconds=SILENCE_SECONDS)
    Lease.objects.filter(run=preview).update(unhealthy_at=since)
    for _ in range(2):
        reconciler.reconcile(config)
    [text] = events("backend_silent")
    assert "answered 503" in text and "it still runs" in text
    assert (OrmQ.objects.count(), events("backend_down")) == (0, [])


def test_a_backend_that_stays_unhealthy_is_restarted(config, place, preview, sick, monkeypatch):
    reconciler.reconcile(config)
    since = timezone.now() - timedelta(seconds=UNHEALTHY_GRACE_SECONDS)
    Lease.objects.filter(run=preview).update(unhealthy_at=since)
    [found] = reconciler.reconcile(config)
    assert "answered 503" in found and found.endswith("it is started again")
    stop_backend = backend._stop
    monkeypatch.setattr(
        backend, "_stop", lambda *args: (sick.unlink(missing_ok=True), stop_backend(*args))
    )
    pid = backend.status(config, place).unit_status.pid
    Lease.objects.filter(run=preview).update(unhealthy_at=since)  # looked at while it starts
    backend_supervision.restart_backend(lease_of(preview).pk, 1)
    assert backend.status(config, place).unit_status.pid != pid
    assert lease_of(preview).unhealthy_at is None
    assert reconciler.reconcile(config) == []


def test_a_restart_task_that_is_late_or_repeated_restarts_nothing(config, place, preview):
    kill(config, place)
    reconciler.reconcile(config)
    lease = lease_of(preview)
    backend_supervision.restart_backend(lease.pk, 1)
    pid = backend.status(config, place).unit_status.pid
    backend_supervision.restart_backend(lease.pk, 2)
    Lease.objects.filter(pk=lease.pk).update(state=LeaseState.ENDING)
    backend_supervision.restart_backend(lease.pk, 1)
    assert backend.status(config, place).unit_status.pid == pid


def test_a_backend_that_keeps_dying_fails_its_run_with_its_last_lines(config, place, preview):
    backend.stop(config, place)
    write(config, place, SERVE + DIES, run=str(preview.pk))
    for number, _ in enumerate(RESTART_DELAYS_SECONDS, start=1):
        reconciler.reconcile(config)
        backend_supervision.restart_backend(lease_of(preview).pk, number)
        due_now(preview)
    reconciler.reconcile(config)
    run = Run.objects.get(pk=preview.pk)
    assert (run.status, run.failure_code) == (Status.FAILED, "BACKEND_UNHEALTHY")
    assert "I cannot go on" in run.failure_detail
    assert lease_of(run).state == LeaseState.ENDED
    assert cleanup.find_leftovers(config, place) == []
    # It was stopped when the first restart began, and ended after each of them.
    assert len(events("backend_down")) == len(RESTART_DELAYS_SECONDS) + 1


def test_a_backend_that_was_healthy_for_a_while_restarts_at_once(config, place, preview):
    Lease.objects.filter(run=preview).update(
        restarts=3,
        restart_at=timezone.now() - timedelta(seconds=backend_supervision.HEALTHY_SECONDS + 1),
    )
    reconciler.reconcile(config)
    assert (lease_of(preview).restarts, lease_of(preview).restart_at) == (0, None)


def test_a_backend_that_was_stopped_by_hand_stays_stopped(config, place, preview):
    backend.stop(config, place)
    assert reconciler.reconcile(config) == []
    assert not backend.status(config, place).unit_status.is_active


def test_an_interrupted_cleanup_is_finished(config, place, preview):
    lease = leases.begin_ending(preview, reason="", to=Status.CANCELED, actor="alice")
    assert reconciler.reconcile(config) == []  # the process that ended it is cleaning
    long_ago = timezone.now() - timedelta(minutes=1)
    Lease.objects.filter(pk=lease.pk).update(ending_at=long_ago)
    assert reconciler.reconcile(config) == ["preview-1 was not cleaned after its lease"]
    assert lease_of(preview).state == LeaseState.ENDED
    assert cleanup.find_leftovers(config, place) == []


def test_a_run_that_is_stopping_is_not_cleaned_before_its_worker_stops(config, place, preview):
    Run.objects.claim(preview.pk, "a worker")
    lease = leases.begin_ending(preview, reason="", actor="alice")
    Lease.objects.filter(pk=lease.pk).update(ending_at=timezone.now() - timedelta(minutes=1))
    reconciler.reconcile(config)
    assert lease_of(preview).state == LeaseState.ENDING
    assert backend.status(config, place).kind == "run"


def test_an_expired_lease_is_reaped(config, place, preview):
    Lease.objects.filter(run=preview).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert reconciler.reconcile(config, dry_run=True) == ["the lease on preview-1 had expired"]
    reconciler.reconcile(config)
    assert Run.objects.get(pk=preview.pk).status == Status.EXPIRED
    assert backend.status(config, place).kind == "idle"


def test_a_run_with_an_expired_claim_is_reported_and_enqueued(config, clean_slot):
    run = RunFactory()
    leases.request_slot(run, actor="alice")
    Run.objects.claim(run.pk, "a worker that died")
    Run.objects.filter(pk=run.pk).update(claim_expires_at=timezone.now() - timedelta(seconds=1))
    OrmQ.objects.all().delete()
    [sentence] = reconciler.reconcile(config)
    assert str(run.pk) in sentence and "a worker that died" in sentence
    assert OrmQ.objects.count() == 1


def test_a_gate_without_a_shipping_run_is_removed(config, clean_slot):
    ended, ships = RunFactory(status=Status.CANCELED), RunFactory(status=Status.MERGING)
    admin = DatabaseAdmin(config)
    before = set(admin.list_own_roles())  # of the templates that other tests have built
    for run in (ended, ships):
        admin.ensure_role(guard.gate_name(run.pk))
        admin.create(guard.gate_name(run.pk), guard.gate_name(run.pk))
        (config.var / "gates" / str(run.pk) / "tree").mkdir(parents=True)
    assert reconciler.reconcile(config) == [f"the merge gate of run {ended.pk} was not removed"]
    assert admin.exists(guard.gate_name(ships.pk))
    assert not admin.exists(guard.gate_name(ended.pk))
    assert set(admin.list_own_roles()) == before | {guard.gate_name(ships.pk)}
    assert os.listdir(config.var / "gates") == [str(ships.pk)]
    admin.drop(guard.gate_name(ships.pk))


def test_a_colour_that_does_not_start_is_found_in_each_pass_and_recorded_now_and_then(
    config, clean_slot
):
    release = ReleaseFactory(live=True)
    DeploymentFactory(release=release, switched_at=timezone.now())
    reconciler.reconcile(config)
    found = reconciler.reconcile(config)
    assert [sentence.partition(":")[0] for sentence in found[1:]] == [
        f"{release} did not come up",
        "Production's background processes",
    ]
    recorded = events("repaired")
    assert set(found) < set(recorded)
    assert reconciler.reconcile(config) == found
    assert events("repaired") == recorded

    long_ago = timezone.now() - timedelta(seconds=reconciler.REPEAT_EVENT_SECONDS + 1)
    Event.objects.update(at=long_ago)
    assert reconciler.reconcile(config) == found
    assert events("repaired") == [*recorded, *found]


def test_the_command_prints_what_differs(config, place, row, capsys):
    call_command("reconcile", dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert "preview-1 has no idle page." in lines
    assert lines[-1] == f"{len(lines) - 1} differences, nothing repaired"


def test_the_worker_starts_a_dead_surface_again_within_seconds(config, place, row):
    surface.show_free(config, place)
    manager, name = LocalManager(config), "ouroboros-web@preview1"
    [unit] = [one for one in web_units.build_web_units(config) if one.name == name]
    manager.start(unit)
    try:
        os.kill(manager.status(name).pid, signal.SIGKILL)
        wait_for(lambda: not manager.status(name).is_active)
        [task] = [one for one in Supervisor(config).periodic_tasks if one.name == "dead units"]
        assert task.seconds <= 2
        task.run()
        assert manager.status(name).is_active
        assert events("repaired") == [f"{name} had died: started again"]
    finally:
        manager.stop(name, grace=5)


@pytest.mark.root
def test_a_preview_that_listens_on_a_port_of_ours_is_ended_and_its_run_is_told(
    config, place, clean_slot, folder
):
    run = RunFactory()
    leases.request_slot(run, actor="alice")
    Run.objects.filter(pk=run.pk).update(status=Status.PREPARING)
    shutil.copy(foreign_listener.__file__, folder)
    (folder / "pids").touch()
    (folder / "pids").chmod(0o666)
    argv = [sys.executable, "foreign_listener.py", str(config.api_port), "again", "pids", "::1"]
    user = replace(config.slot_user(place), folders=None)
    env = {"PATH": os.environ["PATH"]}
    runner.spawn(argv, cwd=folder, env=env, user=user, log=folder / "log")
    wait_for((folder / "pids").read_text)
    reconciler.repair_quickly(config)
    assert socket_owner.list_listeners(config.api_port) == []
    [event] = Event.objects.filter(kind="repaired", run=run, slot_id=str(clean_slot))
    assert f"[::1]:{config.api_port}" in event.text


def test_a_foreign_listener_that_stays_is_named_in_each_pass_and_is_one_event(
    config, clean_slot, monkeypatch
):
    stays = ForeignListeners("a job listened on [::1]:8111", slot_id="", is_ended=False)
    find = lambda config, dry_run, is_quick: [stays]  # noqa: E731
    monkeypatch.setattr(reconciler.foreign_listeners, "end_foreign_listeners", find)
    for _ in range(2):
        assert stays.text in reconciler.repair_quickly(config)
    assert events("repaired").count(stays.text) == 1


def test_a_preview_that_held_too_many_local_ports_is_an_event_of_its_run(
    config, place, clean_slot, monkeypatch
):
    run = RunFactory()
    leases.request_slot(run, actor="alice")
    held = ForeignListeners("it held so many ports: ended", place.slot_id, is_ended=True)
    monkeypatch.setattr(reconciler.foreign_listeners, "end_port_exhaustion", lambda config: [held])
    assert reconciler.free_local_ports(config) == [held.text]
    [event] = Event.objects.filter(kind="repaired", run=run, slot_id=str(clean_slot))
    assert event.text == held.text


def test_a_preview_that_uses_too_much_disk_space_fails_and_its_slot_is_cleaned(
    config, place, preview
):
    backend_supervision.check_disk_usage(config)
    preview.refresh_from_db()
    assert preview.status == Status.PREVIEW_READY
    config.environ["PREVIEW_DISK_MB"] = "1"
    (place.folder / "home").mkdir(exist_ok=True)
    (place.folder / "home" / "big").write_bytes(b"x" * 3 * 2**20)
    backend_supervision.check_disk_usage(config)
    preview.refresh_from_db()
    assert (preview.status, preview.failure_code) == (Status.FAILED, "DISK_FULL")
    assert "PREVIEW_DISK_MB" in preview.failure_detail
    assert cleanup.find_leftovers(config, place) == []
