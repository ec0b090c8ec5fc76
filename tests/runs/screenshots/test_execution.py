"""Which pictures are requested, and when a set ends, waits or is given up."""

from dataclasses import replace

import pytest
from django_q.models import OrmQ

from core.claims import MAX_ATTEMPTS
from host.errors import Refused
from runs import presenters
from runs.models import Precheck, Run, ScreenshotSet
from runs.prechecks.rules import SHIPS
from runs.rules import Status
from runs.screenshots import camera, execution
from runs.screenshots.facts import TAKING, read_screenshots
from runs.screenshots.rules import MOVED, NO_CHROMIUM, NO_USER, PRECHECK, SWITCHED_OFF, SYSTEMD
from tests.factories import RunFactory


def read_set():
    return ScreenshotSet.objects.get()


def test_a_ready_run_has_one_set_for_each_generation_and_commit(config, ready):
    RunFactory(status=Status.PREPARING)
    assert execution.sweep(config) == execution.sweep(config) == 1
    assert read_screenshots(ready).reason == ""
    row = read_set()
    assert (row.run, row.commit_sha, row.generation) == (ready, ready.commit_sha, 1)
    assert (row.status, row.detail) == ("waiting", "")
    assert OrmQ.objects.count() == 1  # not again within the seconds of a task
    ScreenshotSet.objects.update(status="failed")
    assert execution.sweep(config) == 0
    Run.objects.update(generation=2)
    assert execution.sweep(config) == 1
    assert [one.generation for one in ScreenshotSet.objects.order_by("pk")] == [1, 2]


@pytest.mark.parametrize(
    ("environ", "changes", "reason"),
    [
        ({"PREVIEW_SCREENSHOTS": "off"}, {}, SWITCHED_OFF),
        ({}, {"is_root": False}, NO_USER),
        ({}, {"is_systemd": True}, SYSTEMD),
    ],
)
def test_a_host_that_takes_none_says_why(settings, config, ready, environ, changes, reason):
    config = replace(config, environ={**config.environ, **environ}, **changes)
    settings.OROBOROS = config
    assert execution.sweep(config) == 0
    assert not ScreenshotSet.objects.exists()
    assert read_screenshots(ready).reason == reason


def test_a_host_without_chromium_names_the_package(config, ready, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert execution.sweep(config) == 0
    assert read_screenshots(ready).reason == NO_CHROMIUM


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"generation": 2}, MOVED),
        ({"commit_sha": "f" * 40}, MOVED),
        ({"status": Status.MERGING}, "The run is merging."),
        ({"stop_status": Status.CANCELED}, "The run is being ended."),
    ],
)
def test_a_set_ends_once_its_run_has_moved_on(config, ready, changes, reason):
    execution.sweep(config)
    Run.objects.update(**changes)
    execution.execute_next()
    row = read_set()
    assert (row.status, row.detail, row.pictures) == ("canceled", reason, [])
    assert row.claim_expires_at is None
    assert not ready.artifacts.exists()


def test_a_set_waits_while_another_run_ships(config, ready):
    execution.sweep(config)
    other = RunFactory(status=Status.APPROVED)
    execution.execute_next()
    assert (read_set().status, read_set().started_at) == ("waiting", None)
    execution.sweep(config)
    assert read_set().detail == SHIPS
    assert read_screenshots(ready).reason == SHIPS
    other.delete()
    execution.sweep(config)
    assert read_set().detail == ""


def test_a_set_is_given_up_after_workers_died(config, ready):
    execution.sweep(config)
    ScreenshotSet.objects.update(status="running", attempts=MAX_ATTEMPTS)
    execution.execute_next()
    row = read_set()
    assert (row.status, row.attempts) == ("failed", 0)
    assert row.detail == f"The worker died {MAX_ATTEMPTS} times."
    assert ready.events.get(kind="screenshots_failed")
    ready.refresh_from_db()
    assert ready.status == Status.PREVIEW_READY


def test_a_set_gives_way_to_a_precheck(config, ready):
    execution.sweep(config)
    precheck, _ = Precheck.objects.request(ready, requested_by="ada")
    execution.execute_next()
    assert (read_set().status, read_set().started_at, read_set().attempts) == ("waiting", None, 0)
    execution.sweep(config)
    assert read_set().detail == read_screenshots(ready).reason == PRECHECK
    # As while it takes pictures: it was claimed before the request.
    ScreenshotSet.objects.update(status="running")
    execution.execute_next()
    assert (read_set().status, read_set().detail) == ("waiting", PRECHECK)
    Precheck.objects.filter(pk=precheck.pk).update(status="passed")
    assert execution.find_wait_reason(config) == ""


def test_what_is_open_ends_when_pictures_are_switched_off(settings, config, ready):
    execution.sweep(config)
    OrmQ.objects.all().delete()
    ScreenshotSet.objects.update(enqueued_at=None)
    off = replace(config, environ={**config.environ, "PREVIEW_SCREENSHOTS": "off"})
    settings.OROBOROS = off
    execution.sweep(off)
    assert OrmQ.objects.count() == 1
    execution.execute_next()
    assert (read_set().status, read_set().detail) == ("canceled", SWITCHED_OFF)
    assert execution.sweep(off) == 0


def test_a_process_that_stays_holds_up_no_other_set(config, ready, monkeypatch, caplog):
    def stay(config):
        raise Refused("screenshots_still_run", "Processes of uid 7 do not end.")

    monkeypatch.setattr(camera, "remove_processes", stay)
    execution.sweep(config)
    execution.execute_next()
    row = read_set()
    assert (row.status, row.detail) == ("failed", "Processes of uid 7 do not end.")
    assert row.claim_expires_at is None
    assert "screenshots have left something" in caplog.text
    ScreenshotSet.objects.update(status="running", attempts=MAX_ATTEMPTS)
    execution.execute_next()
    assert read_set().detail == f"The worker died {MAX_ATTEMPTS} times."


def test_a_surface_that_does_not_answer_is_asked_again(config, ready, monkeypatch):
    """Nothing listens on the slot's port."""
    monkeypatch.setattr(execution, "read_paths", lambda config, commit: ("/",))
    monkeypatch.setattr(presenters, "get_served_slot", lambda run: config.slots[0])
    monkeypatch.setattr(camera, "shows_run", lambda surface, run: False)
    execution.sweep(config)
    for attempt in range(1, MAX_ATTEMPTS):
        execution.execute_next()
        row = read_set()
        assert (row.status, row.attempts, row.claim_expires_at) == ("waiting", attempt, None)
        assert "did not show" in row.detail
    execution.execute_next()
    assert (read_set().status, read_set().attempts) == ("failed", 0)
    assert "did not show" in read_set().detail


def test_a_claimed_set_is_left_alone(config, ready):
    execution.sweep(config)
    row = read_set()
    assert ScreenshotSet.objects.claim(row.pk, "another worker")
    ScreenshotSet.objects.update(enqueued_at=None)
    OrmQ.objects.all().delete()
    execution.sweep(config)
    execution.execute_next()
    assert not OrmQ.objects.exists()
    assert read_set().claim_owner == "another worker"
    ScreenshotSet.objects.update(status="running")
    assert read_screenshots(ready).reason == TAKING
