"""The doctor's findings: one line for what is right, and a remedy for each fault."""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from host import config as configuration
from host.deadline import wait_until
from host.masking import control_secrets
from host.masking.masks import MASK
from host.units.health import wait_until_healthy
from host.units.local_manager import LocalManager
from host.units.unit import Unit
from ops import stack
from ops.doctor import checks, findings, forge_checks, git_checks, secret_files
from ops.doctor.checks import MinimumFree
from ops.installed import secret_env_files
from releases.builds.build_folders import production_storage
from runs.repository import check_settings
from tests.environment import CLUSTER, free_offset

NO_FLOORS = MinimumFree(0, 0)
SERVER = (
    "import http.server as h, sys;"
    " h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)
WANTED = {"app.example.com": 200, "unknown.example.com": 404}


@pytest.mark.parametrize(
    ("finding", "observed", "remedy"),
    [
        (findings.judge_systemd(251), "251", "Debian 12"),
        (findings.judge_disk("/srv/var", 100, 1024), "100 MB free in /srv/var", "RELEASES_KEEP"),
        (findings.judge_memory(100, 256), "100 MB available", "ADMISSION_FREE_MEMORY_MB"),
        (findings.judge_clock(3600.0), "3600.0 s", "timedatectl set-ntp true"),
        (findings.judge_user("ouroboros-job", False), "missing", "systemd-install-runtime.sh"),
        (
            findings.judge_installed_files(["/etc/a"]),
            "differ: /etc/a",
            "systemd-install-runtime.sh",
        ),
        (
            findings.judge_unit("a.service", "disabled", False),
            "disabled",
            "systemctl enable a.service",
        ),
        (findings.judge_unit("a.service", "", False), "unknown", "systemctl enable a.service"),
        (
            findings.judge_unit("a.service", "enabled", True),
            "failed",
            "journalctl -n 50 -u a.service",
        ),
        (findings.judge_right("a", False, True), "may not", "apt-get install polkitd"),
        (findings.judge_right("a", True, False), "may be started", "systemd-install-runtime.sh"),
        (findings.judge_secret("/e", None, "", "me", "x"), "missing", "again"),
        (findings.judge_secret("/e", 0o100640, "me", "me", "chmod"), "640", "chmod"),
        (findings.judge_secret("/e", 0o100600, "eve", "me", "chown"), "of eve", "chown"),
        (findings.judge_checkout("/srv", 0o40775, "root", "root"), "775", "chmod go-w /srv"),
        (findings.judge_checkout("/srv", 0o40755, "eve", "root"), "of eve", "chown root: /srv"),
        (findings.judge_server("database", 140010), "PostgreSQL 14", "15 or newer"),
        (findings.report_unreachable("database", "no route\nmore"), "no route", "runtime-up.sh"),
        (findings.judge_admin_role("a", False, False), "lacks", "ALTER ROLE a CREATEDB CREATEROLE"),
        (findings.judge_admin_role("a", True, True), "superuser", "NOSUPERUSER"),
        (
            findings.judge_open_databases(["b", "a"]),
            "a, b",
            "REVOKE CONNECT ON DATABASE a, b FROM PUBLIC",
        ),
        (findings.judge_git_remote("", "main", False, ""), "not configured", "GIT_REMOTE_URL"),
        (
            findings.judge_git_remote("/r", "main", False, "fatal: gone"),
            "fatal: gone",
            "worker.env",
        ),
        (findings.judge_shipping_settings("X is wrong."), "X is wrong.", "worker.env"),
        (
            findings.judge_service("API", False, "It does not run.", None),
            "does not",
            "runtime-up.sh",
        ),
        (findings.judge_service("S", False, "x", "preview-1"), "by hand", "start --slot preview-1"),
        (
            findings.judge_port("api", 8000, "foreign", "process 7 (nc)"),
            "process 7",
            "Stop process 7 (nc)",
        ),
        (findings.judge_private_folders(True, False), "shared", "CAP_SYS_ADMIN"),
        (
            findings.judge_exposure("ouroboros-app@blue", ["0.0.0.0:8110"]),
            "0.0.0.0:8110",
            "127.0.0.1:$PORT",
        ),
        (findings.judge_routes({"a": "502"}, {"a": 200})[0], "502", "OROBOROS_DOMAIN"),
    ],
)
def test_a_fault_names_what_was_observed_and_its_remedy(finding, observed, remedy):
    assert not finding.is_ok
    assert observed in finding.observed
    assert remedy in finding.remedy
    assert str(finding).startswith("FAIL")
    assert str(finding).endswith(finding.remedy)


@pytest.mark.parametrize(
    "finding",
    [
        findings.judge_systemd(252),
        findings.judge_npm("/usr/bin/npm"),
        findings.judge_npm(None),
        findings.judge_disk("/srv/var", 1024, 1024),
        findings.judge_memory(256, 256),
        findings.judge_clock(1.9),
        findings.judge_user("ouroboros-job", True),
        findings.judge_installed_files([]),
        findings.judge_unit("a.service", "enabled", False),
        findings.judge_right("a", True, True),
        findings.judge_right("a", False, False),
        findings.judge_secret("/e", 0o100600, "me", "me", "x"),
        findings.judge_checkout("/srv", 0o40755, "root", "root"),
        findings.judge_isolation(True),
        findings.judge_isolation(False),
        findings.judge_server("database", 150004),
        findings.judge_admin_role("a", True, False),
        findings.judge_open_databases([]),
        findings.judge_git_remote("/r", "main", True, ""),
        findings.judge_shipping_settings(""),
        findings.judge_service("API", True, "/health answered 200.", None),
        findings.judge_port("api", 8000, "ours", ""),
        findings.judge_port("api", 8000, "none", ""),
        findings.judge_exposure("ouroboros-app@blue", []),
        findings.judge_private_folders(True, True),
        findings.judge_private_folders(False, False),
        *findings.judge_routes({"app.example.com": "200", "unknown.example.com": "404"}, WANTED),
    ],
)
def test_what_is_right_takes_one_line(finding):
    assert finding.is_ok
    assert str(finding).startswith("ok  ")
    assert "\n" not in str(finding)


@pytest.fixture
def config(tmp_path):
    """Return the configuration of a host on which nothing runs but the tests' PostgreSQL."""
    databases = {
        name: value
        for name, value in settings.OROBOROS.environ.items()
        if name.startswith(("DATABASE", "PREVIEW", "PATH"))
    }
    folders = {"OROBOROS_VAR": str(tmp_path / "var"), "OROBOROS_ENV_DIR": str(tmp_path / "env")}
    offset = {"OROBOROS_PORT_OFFSET": str(free_offset())}
    return configuration.load({**databases, **folders, **offset})


def faults(findings):
    return [finding for finding in findings if not finding.is_ok]


@pytest.fixture
def secrets(config):
    config.env_dir.mkdir()
    for name in secret_env_files.ALL_NAMES:
        path = config.env_dir / name
        path.touch(0o600)
    return config.env_dir


def test_a_secret_that_others_can_read_is_a_fault_until_its_remedy_has_run(config, secrets):
    assert faults(checks.check_secrets(config)) == []
    (secrets / "api.env").chmod(0o644)
    (secrets / "app.env").unlink()
    api, app = faults(checks.check_secrets(config))
    assert (api.subject, app.observed) == (str(secrets / "api.env"), "missing")
    subprocess.run(["sh", "-c", api.remedy], check=True)
    assert [found.subject for found in faults(checks.check_secrets(config))] == [app.subject]


def test_a_value_that_may_be_read_differently_is_reported_and_no_fault(config, secrets):
    (secrets / "worker-preview.env").write_text("MODE=on # for previews\n")
    (secrets / "app.env").write_bytes(b"\xff")
    [found] = checks.check_env_values(config)
    assert found.is_ok
    assert "worker-preview.env line 1: MODE: the text from # is a comment" in found.observed


def test_a_foreign_process_on_a_port_is_a_fault_that_names_it(config):
    assert faults(checks.check_ports(config)) == []
    with socket.create_server(("127.0.0.1", config.api_port)):
        [found] = faults(checks.check_ports(config))
    assert found.subject == f"port {config.api_port} control API"
    assert f"Stop process {os.getpid()}" in found.remedy


def test_a_worker_that_died_is_a_fault_with_how_it_ended(config, tmp_path):
    manager = LocalManager(config)
    argv = (sys.executable, "-c", SERVER, str(config.worker_port))
    log, env = tmp_path / "log", {"PATH": os.defpath}
    unit = Unit("ouroboros-worker", argv, tmp_path, env, None, log, config.worker_port)
    (tmp_path / "health").touch()
    manager.start(unit)
    try:
        wait_until_healthy(manager, unit, 60)
        assert find_worker(config).is_ok
        os.kill(manager.status("ouroboros-worker").pid, 9)
        assert wait_until(lambda: not manager.status("ouroboros-worker").is_active, seconds=60)
        finding = find_worker(config)
    finally:
        manager.stop("ouroboros-worker")
    assert not finding.is_ok
    assert "ended" in finding.observed
    assert finding.remedy.startswith("./scripts/runtime-up.sh;")


def find_worker(config):
    return next(one for one in checks.check_services(config) if one.subject == "Worker")


def test_without_a_running_stack_every_row_is_a_fault(config):
    assert len(faults(checks.check_services(config))) == len(stack.check_health(config)) == 10


def test_files_of_secrets_are_the_control_planes_own_and_exist(config, tmp_path):
    paths = {name: tmp_path / name for name in control_secrets.FILES}
    for path in paths.values():
        path.touch(0o644)
    settings = {**paths, "GIT_SSH_KNOWN_HOSTS_FILE": tmp_path / "gone"}
    more = {name: str(path) for name, path in settings.items()}
    named = configuration.load({**config.environ, **more})
    *open_files, known_hosts = faults(secret_files.check_files(named))
    assert [found.subject for found in open_files] == list(control_secrets.FILES)
    for found in open_files:
        assert "644" in found.observed
        subprocess.run(["sh", "-c", found.remedy], check=True)
    assert "is not found" in known_hosts.observed
    (tmp_path / "gone").touch()
    assert faults(secret_files.check_files(named)) == []
    assert list(secret_files.check_files(config)) == []


def test_the_credentials_for_git_have_a_line_for_the_remote(config, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.write_text("https://ci:token@elsewhere.example\n")
    remote = "https://git.example/team.git"
    more = {"GIT_REMOTE_URL": remote, "GIT_CREDENTIALS_FILE": str(credentials)}
    remote_config = configuration.load({**config.environ, **more})
    [line] = faults(git_checks.check_credentials(remote_config))
    assert line.observed == f"no line for git.example in {credentials}"
    credentials.write_text("https://ci:token@git.example\n")
    assert faults(git_checks.check_credentials(remote_config)) == []
    assert list(git_checks.check_credentials(config)) == []


def with_remote(config, path):
    more = {"GIT_REMOTE_URL": str(path), "GIT_LOCAL_ROOTS": str(path.parent)}
    return configuration.load({**config.environ, **more})


def test_a_missing_git_remote_is_a_fault_with_the_message_of_git(config, tmp_path):
    path = tmp_path / "team.git"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(path)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    remote_config = with_remote(config, path)
    assert faults(git_checks.check_remote(remote_config)) == []
    shutil.rmtree(path)
    [found] = faults(git_checks.check_remote(remote_config))
    assert "The git remote did not answer" in found.observed
    [found] = faults(git_checks.check_remote(with_remote(config, tmp_path / "elsewhere.git")))
    assert "does not appear to be a git repository" in found.observed


def test_a_setting_that_shipping_would_refuse_is_a_fault_that_names_it(config, tmp_path):
    remote_config = with_remote(config, tmp_path / "team.git")
    assert checks.check_shipping_settings(remote_config, check_settings).is_ok
    more = {"MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS": "0"}
    found = checks.check_shipping_settings(
        configuration.load({**remote_config.environ, **more}), check_settings
    )
    assert not found.is_ok
    assert found.observed.startswith("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS must be")


def test_a_clock_that_is_an_hour_off_is_a_fault(config, monkeypatch):
    assert faults(checks.check_clock(config)) == []
    now = checks.time.time()
    monkeypatch.setattr(checks.time, "time", lambda: now - 3600)
    [found] = faults(checks.check_clock(config))
    assert 3599 <= max(map(float, re.findall(r"[\d.]+\d", found.observed))) < 3700


def test_disk_and_memory_below_their_floors_are_faults(config):
    assert faults(checks.check_capacity(config, NO_FLOORS)) == []
    disk, memory = faults(checks.check_capacity(config, MinimumFree(10**9, 10**9)))
    assert (disk.subject, memory.subject) == ("disk", "memory")
    assert "the floor is 1000000000" in memory.observed


def test_the_size_of_each_storage_of_production_is_shown(config):
    assert list(checks.check_storage(config)) == []
    root = production_storage(config)
    for name, megabytes in {"media": 3, "reports": 0}.items():
        folder = root / name / "deep"
        folder.mkdir(parents=True)
        with (folder / "file").open("wb") as file:
            file.write(os.urandom(megabytes * 2**20))
            os.fsync(file.fileno())  # so that it has its blocks
    media, reports = checks.check_storage(config)
    assert media.is_ok and media.observed.startswith(f"3 MB in {root / 'media'}, ")
    assert reports.observed.startswith(f"0 MB in {root / 'reports'}, ")


def test_a_database_that_does_not_answer_is_one_fault_for_each_role(config):
    assert [found.subject for found in checks.check_databases(config)] == [
        "database", "previews' database", "migrations", "admin's role", "closed databases",
    ]  # fmt: skip
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    unreachable = dict.fromkeys(DATABASES, f"postgresql://x@127.0.0.1:{port}/x")
    found = faults(checks.check_databases(configuration.load({**config.environ, **unreachable})))
    assert [one.subject for one in found] == ["database", "previews' database"]
    assert "refused" in found[0].observed


DATABASES = ("DATABASE_URL", "PREVIEW_ADMIN_DATABASE_URL")


def test_an_open_database_and_a_superuser_are_faults(config):
    CLUSTER.execute(["CREATE DATABASE left_open"])
    try:
        more = {"PREVIEW_ADMIN_DATABASE_URL": CLUSTER.url("postgres")}
        tables, role, closed = faults(
            checks.check_databases(configuration.load({**config.environ, **more}))
        )
        # The tests' migrated database has another name.
        assert (tables.subject, "quickstart.sh" in tables.remedy) == ("migrations", True)
        assert role.subject == "admin's role"
        assert "left_open" in closed.observed  # the tests' own database may be open as well
        CLUSTER.execute([closed.remedy])
        assert [one.subject for one in faults(checks.check_databases(config))] == ["migrations"]
    finally:
        CLUSTER.execute(["DROP DATABASE left_open"])


def test_without_a_router_every_route_is_a_fault(config):
    found = faults(checks.check_routes(config))
    assert len(found) == len(config.slots) + 3
    assert all("refused" in one.observed for one in found)


def test_a_missing_program_is_a_fault_that_says_how_to_install_it(config, monkeypatch, tmp_path):
    assert faults(checks.check_programs(config)) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [found.subject for found in faults(checks.check_programs(config))] == [
        "programs",
        "programs",
    ]
    assert "git" in faults(checks.check_programs(config))[0].remedy


def test_the_command_fails_only_if_there_is_a_fault(monkeypatch, capsys):
    right = findings.judge_memory(256, 256)
    monkeypatch.setattr(checks, "run_checks", lambda *arguments: iter([right]))
    call_command("doctor")
    assert "ok    memory" in capsys.readouterr().out
    wrong = findings.judge_memory(0, 256)
    monkeypatch.setattr(checks, "run_checks", lambda *arguments: iter([right, wrong]))
    with pytest.raises(CommandError, match="1 fault was found"):
        call_command("doctor")


def test_no_line_of_the_command_has_a_secret(monkeypatch, capsys, settings):
    said = findings.Finding("forge's token", False, f"401: {settings.SECRET_KEY}?", "try again")
    monkeypatch.setattr(checks, "run_checks", lambda *arguments: iter([said]))
    with pytest.raises(CommandError):
        call_command("doctor")
    assert f"401: {MASK}?" in capsys.readouterr().out


def check_forge(tmp_path, last="ping at 10:00: ignored", **environ):
    secret = tmp_path / "secret"
    secret.write_text("x\n")
    secret.chmod(0o600)
    values = {
        "FORGE": "github",
        "FORGE_REPOSITORY": "team/shop",
        "FORGE_WEBHOOK_SECRET_FILE": str(secret),
        **environ,
    }
    found = forge_checks.check_forge(configuration.load(values), lambda: last)
    return {finding.subject: finding for finding in found}


def test_the_forges_settings_secrets_token_and_webhook_are_checked(tmp_path):
    assert all(one.is_ok for one in check_forge(tmp_path).values())
    assert list(check_forge(tmp_path, FORGE="")) == ["forge"]
    assert not check_forge(tmp_path, FORGE="none")["forge"].is_ok
    assert not check_forge(tmp_path, last="")["webhook"].is_ok
    assert not check_forge(tmp_path, FORGE_WEBHOOK_SECRET_FILE="")["forge"].is_ok
    (tmp_path / "token").write_text("x")
    values = {"FORGE_URL": "http://127.0.0.1:1", "FORGE_TOKEN_FILE": str(tmp_path / "token")}
    found = check_forge(tmp_path, **values)
    assert "did not answer" in found["forge's token"].observed
