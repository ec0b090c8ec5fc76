"""What stands in the way is said before anything is started, all of it, with what to do."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from host import config as configuration
from host.process.runner import User
from host.units import managers
from host.units.managers import Unit
from ops import preflight
from tests.environment import free_port

NOBODY = User(61_991, 61_991)
SERVER = (
    "import http.server as h, sys;"
    " h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


@contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def config(tmp_path):
    return configuration.load({"OROBOROS_VAR": str(tmp_path / "var")})


@pytest.fixture
def one_port(monkeypatch):
    """Let a single port be ours to use; returns its number."""
    port = free_port()
    table = [("control API", port, "ouroboros-api")]
    monkeypatch.setattr(preflight, "port_table", lambda config: iter(table))
    return port


def test_every_port_of_the_contracts_is_looked_at(config):
    ports = {port for _, port, _ in preflight.port_table(config)}
    assert ports == {
        8000, 8090, 3100, 3101, 3102, 3103, 8101, 8102, 8103, 8110, 8111, 8088, 54329,
    }  # fmt: skip


def test_a_free_port_is_no_problem(config, one_port):
    assert list(preflight.ports(config)) == []


def test_a_taken_port_is_named_with_its_holder_and_what_to_do(config, monkeypatch):
    with listening() as port:
        table = [("worker", port, "ouroboros-worker")]
        monkeypatch.setattr(preflight, "port_table", lambda config: iter(table))
        [problem] = preflight.ports(config)
    assert f"Port {port} (worker) is taken by process {os.getpid()}" in problem
    assert "OROBOROS_PORT_OFFSET" in problem


def test_a_port_that_our_own_unit_holds_is_no_problem(config, one_port, tmp_path):
    manager = managers.LocalManager(config)
    unit = Unit(
        "ouroboros-api", (sys.executable, "-c", SERVER, str(one_port)), tmp_path,
        {"PATH": os.defpath}, None, tmp_path / "log", one_port,
    )  # fmt: skip
    manager.start(unit)
    try:
        assert managers.wait_healthy(manager, unit, 10).reason == "/health answered 404."
    finally:
        problems = list(preflight.ports(config))
        manager.stop(unit.name)
    assert problems == []


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (b"git version 2.39.5\n", (2, 39)),
        (b"git version 2.52.0.windows.1", (2, 52)),
        (b"what?", None),
    ],
)
def test_the_version_is_read_from_what_git_says(monkeypatch, said, version):
    monkeypatch.setattr(preflight.process, "capture", lambda *_, **__: SimpleNamespace(stdout=said))
    assert preflight.git_version() == version


def test_too_old_a_git_is_said_with_the_version_wanted(monkeypatch):
    monkeypatch.setattr(preflight, "git_version", lambda: (2, 30))
    [problem] = preflight.programs()
    assert problem == "git is 2.30, too old: install 2.38 or newer."


def test_a_missing_git_and_setpriv_are_both_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    problems = list(preflight.programs())
    assert [problem.split()[0] for problem in problems] == ["git", "setpriv"]


def test_without_uv_and_venv_it_says_which_package_has_them(monkeypatch):
    monkeypatch.setattr(preflight, "git_version", lambda: (2, 50))
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "uv" else f"/bin/{name}")
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    [problem] = preflight.programs()
    assert "apt-get install python3-venv" in problem


def test_too_full_a_disk_is_said_once_with_what_is_free(config, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=100 * 2**20))
    [problem] = preflight.disk(config)
    assert "has 100 MB free, 1536 MB are needed" in problem


def test_a_user_without_a_name_is_told_why_one_is_needed(config, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    [problem] = preflight.ownership(config)
    assert "uid 4000000 has no name" in problem


def test_env_files_made_for_other_ports_are_said(config):
    config.env_dir.mkdir(parents=True)
    (config.env_dir / "api.env").write_text("OROBOROS_PORT_OFFSET=2000\n")
    [problem] = preflight.settings(config)
    assert "OROBOROS_PORT_OFFSET is 0" in problem
    assert "made with 2000" in problem


def test_all_problems_are_said_at_once(config, monkeypatch):
    monkeypatch.setattr(preflight, "git_version", lambda: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    with listening() as port:
        table = [("router", port, "ouroboros-caddy")]
        monkeypatch.setattr(preflight, "port_table", lambda config: iter(table))
        problems = "\n".join(preflight.problems(config))
    for words in ("git is missing", "0 MB free", f"Port {port}"):
        assert words in problems


@pytest.mark.root
def test_an_interpreter_that_other_users_cannot_execute_is_said(monkeypatch, tmp_path):
    tmp_path.chmod(0o700)
    program = tmp_path / "python3"
    shutil.copy2(os.path.realpath(sys.executable), program)
    monkeypatch.setattr(sys, "executable", str(program))
    [problem] = preflight.interpreter(NOBODY)
    assert f"{program} cannot be executed by other users" in problem
    assert "/usr/bin/python3" in problem


@pytest.fixture
def reached(tmp_path):
    """Return a folder that other users can get to."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(folder.anchor) or folder.name == "tmp":
            break
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    return tmp_path


@pytest.mark.root
def test_a_checkout_that_other_users_cannot_enter_is_said_with_the_folder(reached):
    inner = reached / "closed" / "checkout"
    inner.mkdir(parents=True)
    (reached / "closed").chmod(0o700)
    found = SimpleNamespace(home=inner, var=inner / "var")
    [problem] = preflight.checkout(found, NOBODY)
    assert f"cannot enter {reached / 'closed'}:" in problem


@pytest.mark.root
def test_a_var_that_other_users_may_pass_and_not_list_is_no_problem(reached):
    (reached / "var").mkdir()
    (reached / "var").chmod(0o711)
    idle = reached / "slots" / "host" / "idle.py"
    idle.parent.mkdir(parents=True)
    idle.touch()
    for path in (idle, idle.parent, idle.parent.parent):
        path.chmod(0o755)
    found = SimpleNamespace(home=reached, var=reached / "var")
    assert list(preflight.checkout(found, NOBODY)) == []


def python_sh(**environment):
    script = configuration.HOME / "scripts" / "python.sh"
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([script], env=env, capture_output=True, text=True)


def test_the_scripts_find_a_python_that_this_checkout_can_use():
    found = python_sh()
    assert found.returncode == 0, found.stderr
    version = subprocess.check_output(
        [found.stdout.strip(), "-c", "import sys; print(*sys.version_info[:2])"], text=True
    )
    assert (3, 11) <= tuple(map(int, version.split())) < (3, 14)


def test_without_a_python_it_says_what_to_install_and_starts_nothing(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    found = python_sh(OROBOROS_PYTHON=str(old))
    assert (found.returncode, found.stdout) == (1, "")
    assert f"{old} is not Python 3.11 to 3.13" in found.stderr
    assert "apt-get install python3" in found.stderr
