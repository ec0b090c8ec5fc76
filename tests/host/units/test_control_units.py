"""The API and the worker start each other again where systemd does not."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from host import config as configuration
from host.deadline import wait_until
from host.process.termination import MARK_VARIABLE
from host.units import control_units
from host.units.control_units import API, WORKER
from host.units.local_manager import LocalManager
from host.units.unit import Unit, unit_lock

SLEEP = ("sleep", "600")
SHOW_ENVIRONMENT = """
import json, os
from host.units import control_units
os.environ["DEBUG"] = "true"
print(json.dumps(control_units.filter_environment(control_units.read_start_environment())))
"""


@pytest.fixture
def config(tmp_path):
    config = configuration.load({"OROBOROS_VAR": str(tmp_path)})
    (tmp_path / "run").mkdir()
    return config


@pytest.fixture
def manager(config, monkeypatch):
    """The manager of this test's folder, with commands that only sleep as API and worker."""

    def build_units(config, environ):
        return [
            Unit(name, SLEEP, config.home, environ, None, config.var / f"{name}.log")
            for name in (API, WORKER)
        ]

    monkeypatch.setattr(control_units, "build_units", build_units)
    manager = LocalManager(config)
    yield manager
    for name in (API, WORKER):
        manager.stop(name, grace=60)


def start(manager, name):
    units = {unit.name: unit for unit in control_units.build_units(manager.config, {"A": "1"})}
    return manager.start(units[name])


def kill(manager, name):
    os.kill(manager.status(name).pid, signal.SIGKILL)
    assert wait_until(lambda: not manager.status(name).is_active, seconds=30, interval=0.01)


@pytest.mark.parametrize("name", [API, WORKER])
def test_one_that_died_is_started_again_and_one_that_was_stopped_is_not(config, manager, name):
    assert not control_units.start_if_dead(config, name)  # it was never started
    start(manager, name)
    assert not control_units.start_if_dead(config, name)
    kill(manager, name)
    assert control_units.start_if_dead(config, name)
    assert manager.status(name).is_active
    assert not control_units.start_if_dead(config, name)
    manager.stop(name, grace=60)
    assert not control_units.start_if_dead(config, name)


def test_one_whose_stop_is_under_way_is_not_started(config, manager):
    start(manager, WORKER)
    started = []
    with unit_lock(manager.folder, WORKER):
        # A stop ends the process, and then removes the file, under this lock.
        kill(manager, WORKER)
        thread = threading.Thread(
            target=lambda: started.append(control_units.start_if_dead(config, WORKER))
        )
        thread.start()
        (manager.folder / f"{WORKER}.json").unlink()
    thread.join(30)
    assert started == [False]
    assert not manager.status(WORKER).is_active


def test_it_gets_the_environment_that_this_process_was_started_with():
    environ = {"PATH": os.defpath, "DEBUG": "false", "TERM": "xterm", MARK_VARIABLE: "mark"}
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ENVIRONMENT],
        env=environ,
        cwd=configuration.HOME,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"PATH": os.defpath, "DEBUG": "false"}
