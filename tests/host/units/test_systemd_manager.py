"""Units under systemd: what we ask of it, and how its answers are read."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from host import config
from host.errors import Refused
from host.process import socket_owner
from host.units import managers, systemd_manager
from host.units.base import Unit
from host.units.systemd_manager import SystemdManager

CHECKOUT = Path(__file__).resolve().parents[2]
RUNS = {
    "LoadState": "loaded", "ActiveState": "active", "MainPID": "4711",
    "ExecMainStartTimestampMonotonic": "81230000", "ExecMainCode": "0", "ExecMainStatus": "0",
    "ControlGroup": "/system.slice/ouroboros-app@blue.service",
}  # fmt: skip
FAILED = RUNS | {
    "ActiveState": "failed", "MainPID": "0", "ExecMainCode": "1", "ExecMainStatus": "3",
    "ControlGroup": "",
}  # fmt: skip
NEVER = FAILED | {
    "ActiveState": "inactive", "ExecMainStartTimestampMonotonic": "0", "ExecMainCode": "0",
    "ExecMainStatus": "0",
}  # fmt: skip
# Stands in for systemctl: keeps its unit in a file, says what systemd 252 says.
SYSTEMCTL = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$2" in
  show) cat {folder}/shown ;;
  start) cd {folder}; . ./on-start ;;
  stop) cp {folder}/never {folder}/shown ;;
esac
"""


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """Return the folder of a stand-in for systemctl, which is first on PATH."""
    folder = tmp_path / "systemd"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(SYSTEMCTL.format(folder=folder))
    program.chmod(0o755)
    for name, shown in {"shown": NEVER, "never": NEVER, "runs": RUNS, "failed": FAILED}.items():
        show(folder, shown, name)
    (folder / "on-start").write_text("cp runs shown")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("host.units.base.SETTLE_SECONDS", 0.1)
    return folder


def show(folder, shown, name="shown"):
    (folder / name).write_text("".join(f"{key}={value}\n" for key, value in shown.items()))


@pytest.fixture
def manager(tmp_path, systemd):
    return SystemdManager(config.load({"OROBOROS_VAR": str(tmp_path)}))


@pytest.fixture
def unit(tmp_path):
    env = {"PATH": "/usr/bin:/bin", "PGPASSWORD": "today-only"}
    return Unit("ouroboros-app@blue", ("serve",), tmp_path, env, None, tmp_path / "app.log")


def refusal(call, *arguments):
    with pytest.raises(Refused) as found:
        call(*arguments)
    return found.value


def test_a_unit_is_started_as_the_service_of_its_name(manager, unit, systemd):
    status = manager.start(unit)
    assert (status.active, status.pid, status.started) == (True, 4711, 81.23)
    asked = (systemd / "asked").read_text().splitlines()
    start = "--no-ask-password start -- ouroboros-app@blue.service"
    assert asked.index(start) > asked.index(start.replace("start", "reset-failed"))
    assert manager.names() == ["ouroboros-app@blue"]


def test_what_it_runs_is_told_in_a_file_that_is_ours_alone(manager, unit):
    manager.start(unit)
    path = manager.folder / "ouroboros-app@blue.json"
    assert path.stat().st_mode & 0o777 == 0o600
    told = json.loads(path.read_text())
    assert (told["argv"], told["cwd"], told["env"]) == (["serve"], str(unit.cwd), unit.env)


def test_a_unit_that_runs_is_not_started_again(manager, unit, systemd):
    manager.start(unit)
    assert manager.start(unit).already
    assert (systemd / "asked").read_text().count(" start ") == 1
    assert refusal(manager.start, replace(unit, argv=("another",))).code == "unit_differs"


def test_a_crash_on_start_is_told_with_the_last_lines(manager, unit, systemd):
    script = f"cp failed shown; echo no such table >> {unit.log}; exit 1"
    (systemd / "on-start").write_text(script)
    unit.log.write_text("old news\n")
    found = refusal(manager.start, unit)
    assert found.code == "unit_crashed"
    assert "exit code 3" in found.detail
    assert found.detail.endswith(":\nno such table")


def test_a_start_that_systemd_refuses_is_told_in_its_words(manager, unit, systemd):
    show(systemd, FAILED | {"ExecMainStartTimestampMonotonic": "5"})  # an earlier failure
    (systemd / "on-start").write_text("echo Access denied >&2; exit 4")
    found = refusal(manager.start, unit)
    assert (found.code, found.detail) == ("unit_refused", "Access denied")


def test_a_stopped_unit_is_no_longer_one_of_ours(manager, unit):
    manager.start(unit)
    assert manager.stop(unit.name)
    assert manager.names() == []
    assert not manager.status(unit.name).active


def test_a_unit_that_is_not_installed_is_said(manager, systemd):
    show(systemd, NEVER | {"LoadState": "not-found"})
    assert refusal(manager.status, "ouroboros-app@blue").code == "unit_not_installed"


@pytest.mark.parametrize(
    ("shown", "active", "code"),
    [
        (RUNS, True, None),
        (RUNS | {"ActiveState": "deactivating"}, True, None),
        (FAILED, False, 3),
        (FAILED | {"ExecMainCode": "2", "ExecMainStatus": "9"}, False, -9),
        (NEVER, False, None),
    ],
)
def test_the_properties_of_a_unit_are_read(shown, active, code):
    status = systemd_manager.as_status(shown, {}, listening="none", holder="")
    assert (status.active, status.exit_code) == (active, code)


def test_our_sockets_are_known_by_our_cgroup():
    path = next(
        line.split(":", 2)[2]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::")
    )
    with socket_owner.socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = socket_owner.listeners(server.getsockname()[1])
    assert found.cgroup == systemd_manager.cgroup_inode(path)
    assert systemd_manager.cgroup_inode("") is None
    assert systemd_manager.cgroup_inode("/no/such/group") is None


def test_systemd_keeps_the_units_only_where_they_are_installed_for_this_checkout(
    tmp_path, monkeypatch
):
    system, home = tmp_path / "etc", tmp_path / "home"
    system.mkdir()
    (system / "api.env").write_text(f"OROBOROS_HOME={home}\n")
    monkeypatch.setattr(config, "SYSTEM_ENV_DIR", system)
    monkeypatch.setattr(config, "BOOTED_BY_SYSTEMD", tmp_path)
    monkeypatch.setattr(config, "INSTALLED_UNIT", tmp_path / "unit")
    assert isinstance(managers.manager(config.load({}, home)), managers.LocalManager)
    (tmp_path / "unit").touch()
    assert isinstance(managers.manager(config.load({}, home)), SystemdManager)
    assert isinstance(managers.manager(config.load({}, tmp_path)), managers.LocalManager)


def launched(folder, **told):
    """Start the launcher as a unit's template does; returns its process and the unit's log."""
    log = folder / "log"
    log.touch()
    told = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "A": "1"}, "log": str(log), **told}
    (folder / "unit").write_text(json.dumps(told))
    argv = [sys.executable, "-I", "-S", CHECKOUT / "host/units/systemd_exec.py"]
    env = {"CREDENTIALS_DIRECTORY": str(folder), "NOTIFY_SOCKET": "/x"}
    return subprocess.Popen(argv, env=env), log


def test_the_launcher_becomes_what_its_credential_says(tmp_path):
    process, log = launched(tmp_path, argv=["sh", "-c", "pwd; env; echo $$"])
    assert process.wait() == 0
    said = log.read_text().splitlines()
    assert said[0] == "/"
    assert said[-1] == str(process.pid)
    assert {line for line in said[1:-1] if not line.startswith(("PWD=", "_="))} == {
        "PATH=/usr/bin:/bin",
        "A=1",
    }


def test_the_launcher_says_what_it_cannot_start(tmp_path):
    process, log = launched(tmp_path, argv=["no-such-program"])
    assert process.wait() != 0
    assert log.read_text().startswith("no-such-program cannot be started: ")
    assert "Traceback" not in log.read_text()
