"""Production's background processes over deployments, rollbacks, failures and kills."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from host.deadline import wait_until
from host.units import managers
from releases import presenters
from releases.deployments import deploy_and_rollback, reconciler
from releases.deployments.deploy_commit import deploy_commit
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Release
from releases.processes import background, keeping
from releases.rules import count_process_restart, is_process_restart_due
from tests.releases.deployments.test_load import wait_for_responses
from tests.releases.production_state import deploy

pytestmark = pytest.mark.django_db(transaction=True)

# Writes a line when it starts and when it has ended, a while after SIGTERM; both with its version.
WORKER = """
import os, pathlib, signal, sys, time
version = (pathlib.Path(__file__).parent / "version").read_text()
name = os.environ["OROBOROS_PROCESS"]
def say(what):
    with open(os.path.join(os.environ["HOME"], "history"), "a") as file:
        file.write(f"{name} {version} {what}\\n")
def end(*_):
    time.sleep(0.3)
    say("ends")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
assert "PORT" not in os.environ
say("begins")
while True:
    time.sleep(60)
"""
FILES = {
    "Procfile": "web: python server.py\nworker: python worker.py\nclock: python worker.py\n",
    "app.json": '{"formation": {"worker": {"quantity": 2}}}',
    "backend/worker.py": WORKER,
}
NAMES = ["worker", "worker.2", "clock"]


def commit(repo, version, **changes):
    return repo.commit(version, **FILES | changes)


def read_history(config):
    path = config.var / "app" / "history"
    return path.read_text().splitlines() if path.exists() else []


def find_pids(config):
    manager = managers.get_manager(config)
    return {name: manager.status(name).pid for name in background.list_units(config)}


def wait_for_history(config, count):
    assert wait_until(lambda: len(read_history(config)) >= count, seconds=60)
    return read_history(config)


def assert_one_generation(history, version):
    """Assert that each ended before the next of its name began; the last ones are of `version`."""
    running = {}
    for line in history:
        name, of, what = line.split()
        if what == "begins":
            assert name not in running, history
            running[name] = of
        else:
            assert running.pop(name) == of, history
    assert running == dict.fromkeys(NAMES, version)


def test_one_generation_runs_after_a_deploy_and_after_a_rollback(config, repo, web):
    first = deploy(config, commit(repo, "one"))
    wait_for_history(config, 3)
    deploy(config, commit(repo, "two"))
    assert_one_generation(wait_for_history(config, 9), "two")
    assert set(find_pids(config)) == {background.unit_name(name) for name in NAMES}
    deploy_and_rollback.roll_back(config, first.pk, actor="ann", reason="a test")
    assert_one_generation(wait_for_history(config, 15), "one")
    assert reconciler.reconcile(config) == []


@pytest.mark.full
def test_a_process_that_dies_at_its_start_fails_the_deployment_and_the_old_ones_run(
    config, repo, web, monkeypatch
):
    monkeypatch.setattr(background, "SETTLE_SECONDS", 30.0)
    first = commit(repo, "one")
    with monkeypatch.context() as quick:
        quick.setattr(background, "SETTLE_SECONDS", 0.1)
        deploy(config, first)
    wait_for_history(config, 3)
    broken = commit(repo, "two", **{"backend/worker.py": "raise SystemExit('no queue at all')\n"})
    real = background.replace

    def replace_quickly(config, release):
        if release.commit_sha == first:
            monkeypatch.setattr(background, "SETTLE_SECONDS", 0.1)
        real(config, release)

    monkeypatch.setattr(background, "replace", replace_quickly)
    with pytest.raises(DeploymentFailed) as caught:
        deploy_commit(config, broken, actor="ann", reason="a test")
    assert "The process worker ended" in caught.value.detail
    assert "no queue at all" in caught.value.detail
    assert not caught.value.is_stuck
    assert_one_generation(wait_for_history(config, 9), "one")


def test_a_killed_process_is_started_again_and_reported(config, repo, web):
    toml = f"{repo.files['oroboros.toml']}[processes.clock]\nstop_timeout = 90\n"
    live = deploy(config, commit(repo, "one", **{"oroboros.toml": toml}))
    wait_for_history(config, 3)
    before = find_pids(config)
    os.kill(before[background.unit_name("worker")], signal.SIGKILL)
    manager = managers.get_manager(config)
    unit = background.unit_name("worker")
    assert wait_until(lambda: not manager.status(unit).is_active, seconds=60, interval=0.01)
    repairs = reconciler.repair_production(config)
    assert repairs[0].startswith(f"{unit} ended")
    assert repairs[0].endswith("It is started again (restart 1).")
    after = find_pids(config)
    assert after.pop(unit) != before.pop(unit)
    assert after == before
    shown = presenters.list_processes(config, Release.objects.live())
    assert [(one["name"], one["type"], one["state"], one["restarts"]) for one in shown] == [
        ("web", "web", "running", 0),
        ("worker", "worker", "running", 1),
        ("worker.2", "worker", "running", 0),
        ("clock", "clock", "running", 0),
    ]
    logs = presenters.list_logs(config, Release.objects.live())
    assert list(logs) == ["web", "worker", "worker.2", "clock"]
    assert logs["worker.2"] == background.log_path(config, "worker.2")
    assert all(path.is_file() for path in logs.values())
    # Each has the time to end that the manifest gives it.
    times = {one.name: one.stop_timeout for one in background.make_units(config, live)}
    assert times == {
        unit: 30,
        background.unit_name("worker.2"): 30,
        background.unit_name("clock"): 90,
    }
    # The next one waits for the delay.
    os.kill(manager.status(unit).pid, signal.SIGKILL)
    assert wait_until(lambda: not manager.status(unit).is_active, seconds=60, interval=0.01)
    known = keeping.read_restarts(config)
    keeping._write_restarts(config, {unit: replace(known[unit], count=10)})
    assert reconciler.repair_production(config) == []
    assert not manager.status(unit).is_active


@pytest.mark.full
def test_a_process_that_is_not_of_the_live_release_is_stopped(config, repo, web):
    deploy(config, commit(repo, "one"))
    unit = background.make_units(config, Release.objects.live())[0]
    stray = replace(unit, name=background.unit_name("stray"))
    managers.get_manager(config).start(stray)
    assert reconciler.repair_production(config) == [
        f"{stray.name}: not of the live release, stopped"
    ]
    assert stray.name not in background.list_units(config)


@pytest.mark.full
def test_no_request_is_lost_while_processes_are_replaced(config, repo, web):
    first = deploy(config, commit(repo, "one"))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.releases.load_clients", str(config.web_port), "100"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as load:  # fmt: skip
        wait_for_responses(load, 100)
        deploy(config, commit(repo, "two"))
        wait_for_responses(load, 50)
        deploy_and_rollback.roll_back(config, first.pk, actor="ann", reason="a test")
        wait_for_responses(load, 50)
        seen = json.loads(load.communicate()[0])
    assert seen["failures"] == []
    assert_one_generation(wait_for_history(config, 15), "one")


@pytest.mark.parametrize(
    ("restarts", "seconds", "due"),
    [(0, 1e9, True), (1, 1.9, False), (1, 2, True), (5, 31, False), (5, 32, True),
     (1000, 59, False), (1000, 60, True), (3, -5, True)],
)  # fmt: skip
def test_the_delay_grows_with_the_restarts_in_a_row(restarts, seconds, due):
    assert is_process_restart_due(restarts, seconds) is due


def test_a_process_that_ran_for_long_counts_from_0_again():
    assert (count_process_restart(7, 60), count_process_restart(7, 121)) == (8, 1)
