"""Freezes: how long they may last, and which of them stop shipping."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings

from core.clock import format_minute, get_database_time
from host.errors import Refused
from runs import freezes
from runs.models import Event, Freeze
from runs.repository import open_repository
from tests.factories import (
    DeploymentFactory,
    FreezeFactory,
    ReleaseFactory,
    RunFactory,
    sha,
)
from tests.runs.commits import make_commit

pytestmark = pytest.mark.django_db
YEAR = 366 * 24.0


@pytest.mark.parametrize("hours", [0.001, 1, YEAR - 0.001, YEAR])
def test_freeze_may_last_up_to_a_year(hours):
    until = freezes.compute_freeze_end(hours)
    left = until - get_database_time()
    assert timedelta(hours=hours) - timedelta(seconds=30) < left <= timedelta(hours=hours)


@pytest.mark.parametrize(
    ("hours", "code"),
    [
        (-1, "until_is_over"),
        (0, "until_is_over"),
        (YEAR + 0.001, "until_too_far"),
        (float("nan"), "until_too_far"),
    ],
)
def test_freeze_that_ends_before_it_begins_or_after_a_year_is_refused(hours, code):
    with pytest.raises(Refused) as refused:
        freezes.compute_freeze_end(hours)
    assert (refused.value.code, refused.value.status) == (code, 400)
    assert refused.value.detail.endswith(".")


@pytest.mark.parametrize(
    ("hours", "code"), [(-0.1, "until_is_over"), (YEAR + 0.1, "until_too_far")]
)
def test_end_of_a_freeze_is_checked_against_the_databases_time(hours, code):
    until = get_database_time() + timedelta(hours=hours)
    with pytest.raises(Refused) as refused:
        freezes.freeze_shipping(actor="ada", reason="a party", until=until)
    assert refused.value.code == code
    assert not Freeze.objects.exists()


@pytest.mark.parametrize("hours", [None, 1.0])
def test_freeze_is_stored_with_its_end_and_stops_shipping(hours):
    until = hours and get_database_time() + timedelta(hours=hours)
    made = freezes.freeze_shipping(actor="ada", reason="a party", until=until)
    [active] = freezes.list_active_freezes()
    assert (active.pk, active.actor, active.reason, active.until) == (
        made.pk,
        "ada",
        "a party",
        until,
    )
    active.since -= timedelta(hours=3)
    end = f" until {format_minute(active.until)}" if hours else ""
    since = format_minute(active.since)
    assert freezes.describe_freeze(active) == (
        f"Shipping is frozen by ada since {since}{end}: a party"
    )


def test_freeze_stops_shipping_until_its_end_or_until_it_is_lifted():
    at = get_database_time()
    over = FreezeFactory(until=at - timedelta(seconds=1))
    lifted = FreezeFactory(until=None)
    active = [FreezeFactory(until=at + timedelta(hours=1)), FreezeFactory(until=None)]
    assert freezes.lift_freezes([lifted], actor="bob", reason="enough") == 1
    assert {freeze.pk for freeze in freezes.list_active_freezes()} == {one.pk for one in active}
    # The first to lift it stays recorded.
    assert freezes.lift_freezes([lifted, over], actor="eve", reason="again") == 1
    lifted.refresh_from_db()
    assert (lifted.lifted_by, lifted.lift_reason) == ("bob", "enough")
    assert lifted.lifted_at is not None


def test_run_ships_despite_a_freeze_only_if_it_repairs_the_cause(monkeypatch):
    restoring = RunFactory()
    monkeypatch.setattr(freezes, "_restores_files", lambda config, run, failed: run == restoring)
    failed = RunFactory(status="failed")
    freeze, by_a_person = FreezeFactory(run=failed), FreezeFactory()
    retry = RunFactory(parent=failed)
    others = [RunFactory(), RunFactory(parent=RunFactory())]
    for run in (retry, restoring):
        assert freezes.can_ship_despite(settings.OROBOROS, run, freeze)
        assert freezes.list_repaired_freezes(settings.OROBOROS, run) == [freeze]
    for run in others:
        assert not freezes.can_ship_despite(settings.OROBOROS, run, freeze)
        assert freezes.list_repaired_freezes(settings.OROBOROS, run) == []
    assert not freezes.can_ship_despite(settings.OROBOROS, retry, by_a_person)


def read_event(run):
    return Event.objects.filter(run=run).values_list("kind", "actor", "text").get()


def test_freeze_of_a_failed_run_names_it_and_is_lifted_by_the_run_that_repairs_it():
    failed, repair = RunFactory(), RunFactory()
    freezes.freeze_for_failed_run(failed, actor="worker", reason="a check failed")
    [freeze] = freezes.list_active_freezes()
    assert (freeze.run, freeze.actor, freeze.reason) == (failed, "worker", "a check failed")
    assert (freeze.until, freeze.since <= get_database_time()) == (None, True)
    assert read_event(failed) == ("frozen", "worker", "shipping is frozen: a check failed")
    freezes.lift_repaired_freezes(repair, [freeze], "worker")
    freeze.refresh_from_db()
    assert (freeze.lifted_by, freeze.lift_reason) == ("worker", f"{repair} was shipped")
    text = "shipping goes on: this run repaired the cause of the freeze"
    assert read_event(repair) == ("unfrozen", "worker", text)
    # Nothing is recorded where nothing was lifted.
    freezes.lift_repaired_freezes(repair, [freeze], "worker")
    assert read_event(repair)[0] == "unfrozen"


def test_freeze_by_a_person_needs_a_reason_and_records_it():
    with pytest.raises(Refused, match=r"^Say why shipping is frozen\.") as refused:
        freezes.freeze_shipping(actor="ada", reason=" ")
    assert refused.value.code == "reason_required"
    freezes.freeze_shipping(actor="ada", reason="a party")
    assert read_event(None) == ("frozen", "ada", "a party")


def test_freeze_without_a_run_and_without_a_rollback_stops_every_run(monkeypatch):
    run = RunFactory()
    monkeypatch.setattr(freezes, "_restores_files", lambda config, run, failed: False)
    assert not freezes.can_ship_despite(settings.OROBOROS, run, FreezeFactory())
    failed = FreezeFactory(run=RunFactory())
    assert freezes.list_repaired_freezes(settings.OROBOROS, run) == []
    monkeypatch.setattr(freezes, "_restores_files", lambda config, run, failed: True)
    assert freezes.list_repaired_freezes(settings.OROBOROS, run) == [failed]


class History:
    """Commits of our repository: before a merge, the merge, and three branches."""

    def __init__(self, config):
        repo = open_repository(config)
        self.before = make_commit(repo, "before")
        self.merged = make_commit(repo, "merged", self.before)
        self.restores = make_commit(repo, "before", self.merged)
        self.goes_on = make_commit(repo, "other", self.merged)
        self.has_old_files_only = make_commit(repo, "before", self.before)


@pytest.fixture
def history(settings, tmp_path):
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path, git_remote_url="")
    return History(settings.OROBOROS)


def list_that_ship(history, freeze):
    """Return the names of the branches that may ship during the freeze."""
    names = ("restores", "goes_on", "has_old_files_only")
    runs = {name: RunFactory(commit_sha=getattr(history, name)) for name in names}
    config = settings.OROBOROS
    return [name for name in names if freezes.can_ship_despite(config, runs[name], freeze)]


def test_run_that_takes_back_the_failed_merge_with_its_files_may_ship(history):
    failed = RunFactory(base_sha=history.before, candidate_sha=history.merged)
    assert list_that_ship(history, FreezeFactory(run=failed)) == ["restores"]
    unmerged = RunFactory(base_sha=history.before, candidate_sha="")
    assert list_that_ship(history, FreezeFactory(run=unmerged)) == []


def test_run_that_takes_back_what_a_rollback_left_may_ship(history):
    old, left = (ReleaseFactory(commit_sha=each) for each in (history.before, history.merged))
    rollback = DeploymentFactory(kind="rollback", release=old, previous=left)
    assert list_that_ship(history, FreezeFactory(rollback=rollback)) == ["restores"]
    lost = DeploymentFactory(
        kind="rollback", release=ReleaseFactory(commit_sha=sha(5)), previous=left
    )
    assert list_that_ship(history, FreezeFactory(rollback=lost)) == []
    first = DeploymentFactory(kind="rollback", release=old, previous=None)
    assert list_that_ship(history, FreezeFactory(rollback=first)) == []
