"""A dry run of the reconciler names each difference and changes neither a row nor a file."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from django.apps import apps
from django.utils import timezone

from host.errors import Refused
from host.units.foreign_listeners import ForeignListeners
from releases.rules import DeploymentOutcome
from runs.leasing import leases
from runs.lifecycle import reconciler
from runs.models import Event, Run
from runs.repository import open_repository
from runs.rules import FINAL, Status
from slots.models import Lease, Slot
from slots.rules import LeaseState
from slots.runtime import worktree
from tests.factories import DeploymentFactory, ReleaseFactory, RunFactory
from tests.slots.runtime.conftest import config as whole_config
from tests.slots.runtime.conftest import folder

__all__ = ["folder", "whole_config"]
AGO = timedelta(minutes=2)
DEAD = "home-4999999-1.0-abc"  # no pid is as large


@pytest.fixture
def config(db, whole_config, settings):
    settings.OROBOROS = replace(whole_config, slots=whole_config.slots[:3])
    settings.OROBOROS.var.mkdir(parents=True)
    for number, slot in enumerate(settings.OROBOROS.slots, start=1):
        Slot.objects.create(slot_id=slot.slot_id, number=number, host=settings.HOST_NAME)
    open_repository(settings.OROBOROS)  # each reader creates it
    return settings.OROBOROS


def grant(status, **fields):
    """Grant the next slot to a new run; returns the run, which has that status then."""
    run = RunFactory()
    lease = leases.request_slot(run, actor="alice")
    Lease.objects.filter(pk=lease.pk).update(**fields)
    ended_at = timezone.now() if status in FINAL else None
    Run.objects.filter(pk=run.pk).update(status=status, ended_at=ended_at)
    return Run.objects.get(pk=run.pk)


def read_all(config):
    """Return each row of the database, and each file and its content; locks leave files."""
    rows = {
        model._meta.label: list(model.objects.order_by("pk").values())
        for model in apps.get_models()
        if model._meta.managed and not model._meta.proxy
    }
    files = {
        str(path): path.read_bytes() if path.is_file() else b""
        for path in sorted(config.var.rglob("*"))
        if path.suffix != ".lock" and path != config.var / "run"
    }
    return rows, files


def test_a_dry_run_names_each_difference_and_changes_nothing(config, monkeypatch):
    first, second, third = config.slots
    shown = grant(Status.PREVIEW_READY, expires_at=timezone.now() - AGO)
    left = {"state": LeaseState.ENDING, "ending_at": timezone.now() - AGO}
    grant(Status.CANCELED, **left)
    worktree.path(third).mkdir(parents=True)
    dead = RunFactory(status=Status.PREPARING)
    Run.objects.claim(dead.pk, "a worker that died")
    Run.objects.filter(pk=dead.pk).update(claim_expires_at=timezone.now() - AGO)
    gate = uuid.uuid4()
    (config.var / "gates" / str(gate) / "tree").mkdir(parents=True)
    (config.var / "tmp" / DEAD).mkdir(parents=True)
    release = ReleaseFactory(live=True)
    DeploymentFactory(release=release, switched_at=timezone.now())
    stays = ForeignListeners("a job listened on [::1]:8111", slot_id="", is_ended=False)
    asked = []

    def end_foreign_listeners(config, *, dry_run):
        asked.append(dry_run)
        return [stays]

    monkeypatch.setattr(
        reconciler.foreign_listeners, "end_foreign_listeners", end_foreign_listeners
    )
    monkeypatch.setattr(
        reconciler.retention, "remove_templates", lambda config, dry_run: [f"templates {dry_run}"]
    )
    before = read_all(config)
    found = reconciler.reconcile(config, dry_run=True)
    for sentence in (
        f"the lease on {first.slot_id} had expired",
        f"{first.slot_id} does not show run {shown.pk}, which holds it",
        f"{second.slot_id} was not cleaned after its lease",
        f"the claim of a worker that died on run {dead.pk} has expired",
        f"{third.slot_id} has no idle page.",
        f"the merge gate of run {gate} was not removed",
        f"var/tmp/{DEAD} was left by a process that has ended",
        stays.text,
        "templates True",
    ):
        assert sentence in found
    assert any(str(release) in sentence for sentence in found), found
    assert asked == [True]
    assert read_all(config) == before


def test_a_dry_run_names_an_interrupted_deployment_and_leaves_it(config):
    fields = {"outcome": DeploymentOutcome.RUNNING, "ended_at": None}
    deployment = DeploymentFactory(started_at=timezone.now() - 30 * AGO, **fields)
    before = read_all(config)
    found = reconciler.reconcile(config, dry_run=True)
    assert f"{deployment} of {deployment.release} was interrupted: continued" in found
    assert read_all(config) == before


def test_without_the_database_server_the_other_checks_run(config, monkeypatch):
    def refuse(config, dry_run):
        raise Refused("database_unavailable", "no answer")

    monkeypatch.setattr(reconciler.retention, "remove_templates", refuse)
    (config.var / "tmp" / DEAD).mkdir(parents=True)
    assert f"var/tmp/{DEAD} was left by a process that has ended" in reconciler.reconcile(
        config, dry_run=True
    )


def test_what_a_pass_removes_is_recorded_once(config, monkeypatch):
    (config.var / "tmp" / DEAD).mkdir(parents=True)
    [text] = reconciler._remove_abandoned_folders(config, False)
    assert Event.objects.get(kind="repaired").text == text
    assert not (config.var / "tmp" / DEAD).exists()
    assert list(reconciler._remove_abandoned_folders(config, False)) == []
    asked = []
    monkeypatch.setattr(
        reconciler.retention,
        "remove_templates",
        lambda config, dry_run: asked.append(dry_run) or ["dropped"],
    )
    assert list(reconciler._remove_templates(config, False)) == ["dropped"]
    assert asked == [False]
