"""Units under systemd: the systemctl calls, and how their output is read."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from host import config
from host.errors import Refused
from host.process import log_writer, socket_owner
from host.units import managers, systemd_manager
from host.units.local_manager import LocalManager
from host.units.systemd_manager import SystemdManager
from host.units.unit import Unit
from tests.host.processes import wait_for

CHECKOUT = Path(__file__).resolve().parents[3]
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
# A fake systemctl: it keeps its unit in a file, and prints what systemd 252 prints.
SYSTEMCTL = """#!/bin/sh
echo "$@" >> {folder}/calls
case "$2" in
  show) cd {folder}; cat properties; . ./after-show ;;
  start) cd {folder}; . ./on-start ;;
  stop) cp {folder}/never {folder}/properties ;;
esac
"""


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """Return the folder of a fake systemctl, which is first on PATH."""
    folder = tmp_path / "systemd"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(SYSTEMCTL.format(folder=folder))
    program.chmod(0o755)
    for name, properties in {
        "properties": NEVER,
        "never": NEVER,
        "runs": RUNS,
        "failed": FAILED,
    }.items():
        show(folder, properties, name)
    (folder / "on-start").write_text("cp runs properties")
    (folder / "after-show").touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("host.units.unit.SETTLE_SECONDS", 0.1)
    return folder


def show(folder, properties, name="properties"):
    (folder / name).write_text("".join(f"{key}={value}\n" for key, value in properties.items()))


@pytest.fixture
def manager(tmp_path, systemd, monkeypatch):
    monkeypatch.setattr(systemd_manager, "STOP_FOLDER", tmp_path / "stop-seconds")
    return SystemdManager(config.load({"OROBOROS_VAR": str(tmp_path)}))


@pytest.fixture
def unit(tmp_path):
    env = {"PATH": "/usr/bin:/bin", "PGPASSWORD": "today-only"}
    return Unit("ouroboros-app@blue", ("serve",), tmp_path, env, None, tmp_path / "app.log")


def get_refusal(call, *arguments):
    with pytest.raises(Refused) as found:
        call(*arguments)
    return found.value


def test_a_unit_is_started_as_the_service_of_its_name(manager, unit, systemd):
    status = manager.start(unit)
    assert (status.is_active, status.pid, status.start_time) == (True, 4711, 81.23)
    calls = (systemd / "calls").read_text().splitlines()
    # It may not cancel a stop: that is the operator's, who stops all units.
    start = "--no-ask-password start --job-mode=fail -- ouroboros-app@blue.service"
    reset = "--no-ask-password reset-failed -- ouroboros-app@blue.service"
    assert calls.index(start) > calls.index(reset)
    assert manager.list_names() == ["ouroboros-app@blue"]


def test_the_command_is_written_to_a_file_with_mode_0600(manager, unit):
    manager.start(unit)
    path = manager.folder / "ouroboros-app@blue.json"
    assert path.stat().st_mode & 0o777 == 0o600
    spec = json.loads(path.read_text())
    assert (spec["argv"], spec["cwd"], spec["env"]) == (["serve"], str(unit.cwd), unit.env)


def test_the_program_that_stops_a_unit_can_read_its_time_as_the_units_user(manager, unit, tmp_path):
    manager.start(replace(unit, stop_timeout=45.0))
    path = tmp_path / "stop-seconds" / "ouroboros-app@blue.service"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("45.0", 0o644)
    assert path.parent.stat().st_mode & 0o777 == 0o711
    manager.stop(unit.name)
    assert not path.exists()


def test_a_running_unit_is_not_started_again(manager, unit, systemd):
    manager.start(unit)
    assert manager.start(unit).was_running
    assert (systemd / "calls").read_text().count(" start ") == 1
    assert get_refusal(manager.start, replace(unit, argv=("another",))).code == "unit_differs"


def test_a_crash_at_start_is_refused_with_the_last_log_lines(manager, unit, systemd):
    script = f"cp failed properties; echo no such table >> {unit.log}; exit 1"
    (systemd / "on-start").write_text(script)
    unit.log.write_text("an older line\n")
    found = get_refusal(manager.start, unit)
    assert found.code == "unit_crashed"
    assert "exit code 3" in found.detail
    assert found.detail.endswith(":\nno such table")


def test_a_start_that_systemd_refuses_has_its_error_message(manager, unit, systemd):
    show(systemd, FAILED | {"ExecMainStartTimestampMonotonic": "5"})  # an earlier failure
    (systemd / "on-start").write_text("echo Access denied >&2; exit 4")
    found = get_refusal(manager.start, unit)
    assert (found.code, found.detail) == ("unit_refused", "Access denied")


def test_a_stopped_unit_is_not_listed(manager, unit):
    manager.start(unit)
    assert manager.stop(unit.name)
    assert manager.list_names() == []
    assert not manager.status(unit.name).is_active


def test_a_unit_that_is_not_installed_is_refused(manager, systemd):
    show(systemd, NEVER | {"LoadState": "not-found"})
    assert get_refusal(manager.status, "ouroboros-app@blue").code == "unit_not_installed"


@pytest.mark.parametrize(
    ("properties", "active", "code"),
    [
        (RUNS, True, None),
        (RUNS | {"ActiveState": "deactivating"}, True, None),
        (FAILED, False, 3),
        (FAILED | {"ExecMainCode": "2", "ExecMainStatus": "9"}, False, -9),
        (NEVER, False, None),
    ],
)
def test_systemds_properties_become_a_status(properties, active, code):
    status = systemd_manager.to_unit_status(properties, {}, listening="none", holder="")
    assert (status.is_active, status.exit_code) == (active, code)


def test_a_socket_has_the_cgroup_of_its_process():
    path = next(
        line.split(":", 2)[2]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::")
    )
    with socket_owner.socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = socket_owner.list_listeners(server.getsockname()[1])
    assert found.cgroup == systemd_manager.find_cgroup_inode(path)
    assert systemd_manager.find_cgroup_inode("") is None
    assert systemd_manager.find_cgroup_inode("/no/such/group") is None


def test_systemds_manager_is_used_only_where_its_units_are_installed_for_this_checkout(
    tmp_path, monkeypatch
):
    system, home = tmp_path / "etc", tmp_path / "home"
    system.mkdir()
    (system / "api.env").write_text(f"OROBOROS_HOME={home}\n")
    monkeypatch.setattr(config, "SYSTEM_ENV_DIR", system)
    monkeypatch.setattr(config, "BOOTED_BY_SYSTEMD", tmp_path)
    monkeypatch.setattr(config, "INSTALLED_UNIT", tmp_path / "unit")
    assert isinstance(managers.get_manager(config.load({}, home)), LocalManager)
    (tmp_path / "unit").touch()
    assert isinstance(managers.get_manager(config.load({}, home)), SystemdManager)
    assert isinstance(managers.get_manager(config.load({}, tmp_path)), LocalManager)


def start_launcher(folder, **spec):
    """Start systemd_exec as a template unit does; returns its process and the unit's log."""
    log = folder / "log"
    log.touch()
    spec = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "A": "1"}, "log": str(log), **spec}
    (folder / "unit").write_text(json.dumps(spec))
    argv = [sys.executable, "-I", "-S", CHECKOUT / "host/units/systemd_exec.py"]
    env = {"CREDENTIALS_DIRECTORY": str(folder), "NOTIFY_SOCKET": "/x"}
    return subprocess.Popen(argv, env=env), log


def test_the_launcher_executes_the_command_of_its_credential(tmp_path):
    process, log = start_launcher(tmp_path, argv=["sh", "-c", "pwd; env; echo $$"])
    assert process.wait() == 0
    said = log.read_text().splitlines()
    assert said[0] == "/"
    assert said[-1] == str(process.pid)
    assert {line for line in said[1:-1] if not line.startswith(("PWD=", "_="))} == {
        "PATH=/usr/bin:/bin",
        "A=1",
    }


def test_the_launcher_logs_a_program_that_it_cannot_start(tmp_path):
    process, log = start_launcher(tmp_path, argv=["no-such-program"])
    assert process.wait() != 0
    assert log.read_text().startswith("no-such-program cannot be started: ")
    assert "Traceback" not in log.read_text()


def test_the_log_of_a_command_that_opens_its_output_again_is_not_emptied(tmp_path):
    script = "echo first; echo second > /dev/stdout; echo last"
    process, log = start_launcher(tmp_path, argv=["sh", "-c", script], log_writer=log_writer.ARGV)
    process.wait()
    wait_for(lambda: log.read_text() == "first\nsecond\nlast\n")


def test_the_log_writer_is_no_child_of_the_command(tmp_path):
    argv = [sys.executable, "-c", "import os; os.wait()"]
    process, log = start_launcher(tmp_path, argv=argv, log_writer=log_writer.ARGV)
    assert process.wait() == 1
    wait_for(lambda: log.read_text().endswith("ChildProcessError: [Errno 10] No child processes\n"))


def test_the_message_of_a_crash_is_read_when_the_log_writer_has_ended(manager, unit, systemd):
    show(systemd, FAILED | {"ActiveState": "deactivating"}, "ending")
    (systemd / "on-start").write_text("cp ending properties; exit 1")
    writes = f"echo no such table >> {unit.log}; cp failed properties"
    (systemd / "after-show").write_text(f"if cmp -s ending properties; then {writes}; fi")
    found = get_refusal(manager.start, replace(unit, has_log_writer=True))
    assert found.detail.endswith(":\nno such table")
    spec = json.loads((manager.folder / "ouroboros-app@blue.json").read_text())
    assert spec["log_writer"] == list(log_writer.ARGV)


def test_the_units_that_ended_or_were_restarted_are_found_by_one_call(systemd, manager):
    blocks = [
        {"Id": "ouroboros-app@blue.service", "MainPID": "4711", "NRestarts": "0"},
        {"Id": "ouroboros-app@blue.1.service", "MainPID": "4712", "NRestarts": "2"},
        {"Id": "ouroboros-redis@app.service", "MainPID": "0", "NRestarts": "0"},
    ]
    lines = ("".join(f"{key}={value}\n" for key, value in block.items()) for block in blocks)
    (systemd / "properties").write_text("\n".join(lines))
    names = ["ouroboros-app@blue", "ouroboros-app@blue.1", "ouroboros-redis@app"]
    assert manager.find_ended(names) == ["ouroboros-app@blue.1", "ouroboros-redis@app"]
    assert manager.find_ended([]) == []
    assert len((systemd / "calls").read_text().splitlines()) == 1
