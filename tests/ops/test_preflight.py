"""Every problem that prevents a start is reported at once, each with what to do."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from host import config as configuration
from host.process.users import User
from host.units import health
from host.units.local_manager import LocalManager
from host.units.unit import Unit
from ops import preflight
from tests.environment import free_port

OTHER_USER = User(61_991, 61_991)
SERVER = (
    "import http.server as h, sys;"
    " h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


@contextmanager
def listening_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def config(tmp_path):
    return configuration.load({"OROBOROS_VAR": str(tmp_path / "var")})


@pytest.fixture
def one_port(monkeypatch):
    """Reduce the stack to a single port; returns its number."""
    port = free_port()
    table = [("control API", port, "ouroboros-api")]
    monkeypatch.setattr(preflight, "list_ports", lambda config: iter(table))
    return port


def test_every_port_of_the_stack_is_listed(config):
    ports = {port for _, port, _ in preflight.list_ports(config)}
    assert ports == {
        8000, 8090, 3100, 3101, 3102, 3103, 8101, 8102, 8103, 8092, 8094, 8095, 8088,
        8400, 8401, 8402, 8403, 8465, 54329,
        *(port + 100 * index for index in range(3) for port in (8501, 8502, 8503)),
        *(port + 100 * index for index in range(3) for port in (8565, 8566, 8567)),
    }  # fmt: skip


def test_a_free_port_is_no_problem(config, one_port):
    assert list(preflight.check_ports(config)) == []


def test_a_port_in_use_is_a_problem_that_names_the_process(config, monkeypatch):
    with listening_socket() as port:
        table = [("worker", port, "ouroboros-worker")]
        monkeypatch.setattr(preflight, "list_ports", lambda config: iter(table))
        [problem] = preflight.check_ports(config)
    assert f"Port {port} (worker) is taken by process {os.getpid()}" in problem
    assert "OROBOROS_PORT_OFFSET" in problem


@pytest.mark.parametrize("address", ["::1", "127.0.0.2"])
def test_a_port_in_use_on_another_address_is_a_problem(config, one_port, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, one_port), family=family):
        [problem] = preflight.check_ports(config)
    assert f"Port {one_port} (control API) is taken by process {os.getpid()}" in problem


def test_a_port_that_its_own_unit_listens_on_is_no_problem(config, one_port, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "STEADY_SECONDS", 0.2)
    manager = LocalManager(config)
    unit = Unit(
        "ouroboros-api", (sys.executable, "-c", SERVER, str(one_port)), tmp_path,
        {"PATH": os.defpath}, None, tmp_path / "log", one_port,
    )  # fmt: skip
    manager.start(unit)
    try:
        assert health.wait_until_healthy(manager, unit, 60).reason == "/health answered 404."
    finally:
        problems = list(preflight.check_ports(config))
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
def test_the_version_is_read_from_the_output_of_git(monkeypatch, said, version):
    monkeypatch.setattr(preflight.runner, "capture", lambda *_, **__: SimpleNamespace(stdout=said))
    assert preflight.read_git_version() == version


def test_an_old_git_is_a_problem_that_names_the_version_needed(monkeypatch):
    monkeypatch.setattr(preflight, "read_git_version", lambda: (2, 30))
    [problem] = preflight.check_programs()
    assert problem == "git is 2.30, too old: install 2.38 or newer."


def test_missing_git_and_setpriv_are_two_problems(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    problems = list(preflight.check_programs())
    assert [problem.split()[0] for problem in problems] == ["git", "setpriv"]


def test_without_uv_and_venv_the_problem_names_the_package(monkeypatch):
    monkeypatch.setattr(preflight, "read_git_version", lambda: (2, 50))
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "uv" else f"/bin/{name}")
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    [problem] = preflight.check_programs()
    assert "apt-get install python3-venv" in problem


def test_a_full_disk_is_one_problem_with_the_free_space(config, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=100 * 2**20))
    [problem] = preflight.check_disk(config)
    assert "has 100 MB free, 1536 MB are needed" in problem


def test_a_uid_without_a_name_is_a_problem(config, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    [problem] = preflight.check_ownership(config)
    assert "uid 4000000 has no name" in problem


def test_env_files_made_with_another_port_offset_are_a_problem(config):
    config.env_dir.mkdir(parents=True)
    (config.env_dir / "api.env").write_text("OROBOROS_PORT_OFFSET=2000\n")
    [problem] = preflight.check_port_offset(config)
    assert "OROBOROS_PORT_OFFSET is 0" in problem
    assert "made with 2000" in problem


def test_all_problems_are_returned_at_once(config, monkeypatch):
    monkeypatch.setattr(preflight, "read_git_version", lambda: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    with listening_socket() as port:
        table = [("router", port, "ouroboros-caddy")]
        monkeypatch.setattr(preflight, "list_ports", lambda config: iter(table))
        problems = "\n".join(preflight.find_problems(config))
    for words in ("git is missing", "0 MB free", f"Port {port}"):
        assert words in problems


@pytest.mark.root
def test_an_interpreter_that_other_users_cannot_execute_is_a_problem(monkeypatch, tmp_path):
    tmp_path.chmod(0o700)
    program = tmp_path / "python3"
    shutil.copy2(os.path.realpath(sys.executable), program)
    monkeypatch.setattr(sys, "executable", str(program))
    [problem] = preflight.check_interpreter(OTHER_USER)
    assert f"{program} cannot be executed by the users that previews run as" in problem
    assert "/usr/bin/python3" in problem


@pytest.mark.root
def test_a_checkout_that_other_users_cannot_enter_is_a_problem_that_names_the_folder(
    open_path,
):
    inner = open_path / "closed" / "checkout"
    inner.mkdir(parents=True)
    (open_path / "closed").chmod(0o700)
    found = SimpleNamespace(home=inner, var=inner / "var")
    [problem] = preflight.check_checkout(found, OTHER_USER)
    assert f"cannot enter {open_path / 'closed'}:" in problem


@pytest.mark.root
def test_a_var_that_other_users_can_enter_but_not_list_is_no_problem(open_path):
    (open_path / "var").mkdir()
    (open_path / "var").chmod(0o711)
    idle = open_path / "slots" / "runtime" / "idle_page.py"
    idle.parent.mkdir(parents=True)
    idle.touch()
    for path in (idle, idle.parent, idle.parent.parent):
        path.chmod(0o755)
    found = SimpleNamespace(home=open_path, var=open_path / "var")
    assert list(preflight.check_checkout(found, OTHER_USER)) == []


def run_python_sh(**environment):
    script = configuration.HOME / "scripts" / "python.sh"
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([script], env=env, capture_output=True, text=True)


def test_python_sh_prints_a_supported_python():
    found = run_python_sh()
    assert found.returncode == 0, found.stderr
    version = subprocess.check_output(
        [found.stdout.strip(), "-c", "import sys; print(*sys.version_info[:2])"], text=True
    )
    assert (3, 11) <= tuple(map(int, version.split())) < (3, 14)


def test_without_a_supported_python_python_sh_says_what_to_install(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    found = run_python_sh(OROBOROS_PYTHON=str(old))
    assert (found.returncode, found.stdout) == (1, "")
    assert f"{old} is not Python 3.11 to 3.13" in found.stderr
    assert "apt-get install python3" in found.stderr


@pytest.mark.root
@pytest.mark.parametrize("is_entered", [True, False])
def test_a_clone_under_umask_077_is_a_problem_with_the_commands_that_open_it(open_path, is_entered):
    home = open_path / "my checkout"
    idle = home / "slots" / "runtime" / "idle_page.py"
    idle.parent.mkdir(parents=True)
    idle.touch()
    for path in (*home.rglob("*"), home):
        path.chmod(path.stat().st_mode & ~0o077)
    if is_entered:
        home.chmod(0o755)
    found = SimpleNamespace(home=home, var=open_path / "var")
    [problem] = preflight.check_checkout(found, OTHER_USER)
    advice = problem.rpartition("umask 077: ")[2]
    assert f"'{home}'" in advice
    subprocess.run(["/bin/sh", "-c", advice], check=True)
    assert list(preflight.check_checkout(found, OTHER_USER)) == []
