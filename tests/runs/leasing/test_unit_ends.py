"""An end of a unit is found once, and never one that a stop or a start caused."""

import json
import os
import signal
import sys
from dataclasses import replace

import pytest

from host import config as configuration
from host.units.local_manager import LocalManager
from host.units.unit import Unit, UnitStatus, unit_lock
from runs.leasing.unit_ends import REPORTED_AT_ONCE, Reported, find_new_end
from tests.host.processes import wait_for, wait_for_another_start_time

RUNS = UnitStatus(True, 4711, 100.0, None, "none")
DEAD = replace(RUNS, is_active=False, pid=None)


@pytest.fixture
def manager(tmp_path):
    manager = LocalManager(configuration.load({"OROBOROS_VAR": str(tmp_path)}))
    yield manager
    manager.stop("ouroboros-test", grace=1)


@pytest.fixture
def unit(manager, tmp_path):
    (manager.config.var / "run").mkdir(parents=True, exist_ok=True)
    argv = (sys.executable, "-c", "import time\ntime.sleep(600)")
    return Unit("ouroboros-test", argv, tmp_path, {}, None, tmp_path / "log", settle_seconds=0.0)


def kill(manager, unit):
    os.kill(manager.start(unit).pid, signal.SIGKILL)
    wait_for(lambda: manager.find_ended([unit.name]))
    wait_for_another_start_time()  # by which the next end is told from this one


def find(manager, unit):
    with find_new_end(manager, unit.name) as status:
        return status


def test_an_end_is_found_once_and_so_is_the_end_of_the_next_start(manager, unit):
    manager.start(unit)
    assert manager.find_ended([unit.name]) == []
    assert find(manager, unit) is None
    for _ in range(2):
        kill(manager, unit)
        assert "ended" in find(manager, unit).failure
        assert find(manager, unit) is None


def test_an_end_whose_report_failed_is_found_again(manager, unit):
    kill(manager, unit)
    with pytest.raises(RuntimeError), find_new_end(manager, unit.name):
        raise RuntimeError("the database does not answer")
    assert find(manager, unit) is not None


def test_a_stop_is_no_end(manager, unit):
    kill(manager, unit)
    with unit_lock(manager.folder, unit.name):  # as while another process stops it
        assert find(manager, unit) is None
    manager.stop(unit.name)
    assert manager.find_ended([unit.name]) == []
    assert find(manager, unit) is None


def test_an_end_that_only_the_next_start_found_is_found_once(manager, unit):
    again = replace(unit, keeps_end=True)
    kill(manager, unit)
    for _ in range(2):
        assert not manager.start(again).was_running
        assert manager.find_ended([unit.name]) == [unit.name]
        assert "ended" in find(manager, unit).failure
        assert find(manager, unit) is None
        assert manager.find_ended([unit.name]) == []
        kill(manager, unit)
    assert find(manager, unit) is not None  # of the last start
    manager.start(again)
    assert find(manager, unit) is None
    assert manager.find_ended([unit.name]) == []


def test_a_start_after_a_stop_and_one_of_a_step_keep_no_end(manager, unit):
    kill(manager, unit)
    manager.start(unit)
    assert manager.find_ended([unit.name]) == []
    kill(manager, unit)
    manager.start(replace(unit, keeps_end=True))
    manager.stop(unit.name, grace=1)
    manager.start(replace(unit, keeps_end=True))
    assert manager.find_ended([unit.name]) == []


def test_an_unreadable_report_counts_as_none(manager, unit):
    kill(manager, unit)
    (manager.folder / f"{unit.name}.ends").write_text(json.dumps({"of": "another version"}))
    assert find(manager, unit) is not None


@pytest.mark.parametrize(
    ("known", "status", "count"),
    [
        (Reported(), RUNS, 0),
        (Reported(), replace(DEAD, start_time=None), 0),
        (Reported(), DEAD, 1),
        (Reported(ends=1, ended=100.0), DEAD, 1),
        # systemd has counted the restart of the process that was found dead, or has done it.
        (Reported(ends=1, ended=100.0), replace(DEAD, restarts=1), 1),
        (Reported(ends=1, ended=100.0), replace(RUNS, start_time=101.0, restarts=1), 1),
        # It has started another one since, which was not seen dead.
        (Reported(ends=1, ended=100.0), replace(RUNS, start_time=103.0, restarts=2), 2),
        (Reported(ends=1, ended=100.0), replace(DEAD, start_time=101.0, restarts=1), 2),
    ],
)
def test_a_process_that_systemd_starts_again_ends_once(known, status, count):
    assert known.count_ends(status) == count


def test_a_unit_that_ends_all_the_time_is_reported_once_a_minute():
    known, at = Reported(), 1000.0
    for number in range(REPORTED_AT_ONCE):
        assert known.is_report_due(at + number)
        known = known.add(replace(DEAD, start_time=at + number), at + number, is_reported=True)
    assert known.in_row == REPORTED_AT_ONCE
    assert not known.is_report_due(at + REPORTED_AT_ONCE)
    later = known.add(replace(DEAD, start_time=at + 20), at + 20, is_reported=False)
    assert (later.ends, later.at) == (REPORTED_AT_ONCE + 1, known.at)
    assert later.is_report_due(known.at + 60)
    assert later.add(DEAD, known.at + 121, is_reported=True).in_row == 1
