"""What the doctor says: of each thing that is well, of each that is not, and what mends it."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from host import config as configuration
from host.units import managers
from host.units.managers import Unit
from ops import stack, systemd
from ops.doctor import examination, findings
from ops.doctor.examination import Floors
from runs.repository import check_settings
from tests.environment import CLUSTER

NOTHING = Floors(0, 0)
SERVER = (
    "import http.server as h, sys;"
    " h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)
WELL = {"app.example.com": 200, "nobody.example.com": 404}


@pytest.mark.parametrize(
    ("found", "word", "mend"),
    [
        (findings.systemd(251), "251", "Debian 12"),
        (findings.disk("/srv/var", 100, 1024), "100 MB free in /srv/var", "RELEASES_KEEP"),
        (findings.memory(100, 256), "100 MB available", "ADMISSION_FREE_MEMORY_MB"),
        (findings.clock(3600.0), "3600.0 s", "timedatectl set-ntp true"),
        (findings.user("ouroboros-job", False), "missing", "systemd-install-runtime.sh"),
        (findings.installed(["/etc/a"]), "differ: /etc/a", "systemd-install-runtime.sh"),
        (findings.unit("a.service", "disabled", False), "disabled", "systemctl enable a.service"),
        (findings.unit("a.service", "", False), "unknown", "systemctl enable a.service"),
        (findings.unit("a.service", "enabled", True), "failed", "journalctl -n 50 -u a.service"),
        (findings.right("a", False, True), "may not", "apt-get install polkitd"),
        (findings.right("a", True, False), "may be started", "systemd-install-runtime.sh"),
        (findings.secret("/e", None, "", "me"), "missing", "again"),
        (findings.secret("/e", 0o100640, "me", "me"), "640", "chmod 600 /e"),
        (findings.secret("/e", 0o100600, "eve", "me"), "of eve", "chown me: /e"),
        (findings.checkout("/srv", 0o40775, "root", "root"), "775", "chmod go-w /srv"),
        (findings.checkout("/srv", 0o40755, "eve", "root"), "of eve", "chown root: /srv"),
        (findings.server("database", 140010), "PostgreSQL 14", "15 or newer"),
        (findings.unreachable("database", "no route\nmore"), "no route", "runtime-up.sh"),
        (findings.admin_role("a", False, False), "lacks", "ALTER ROLE a CREATEDB CREATEROLE"),
        (findings.admin_role("a", True, True), "superuser", "NOSUPERUSER"),
        (
            findings.open_databases(["b", "a"]),
            "a, b",
            "REVOKE CONNECT ON DATABASE a, b FROM PUBLIC",
        ),
        (findings.remote("", "main", False, ""), "not configured", "GIT_REMOTE_URL"),
        (findings.remote("/r", "main", False, "fatal: gone"), "fatal: gone", "worker.env"),
        (findings.shipping("X is wrong."), "X is wrong.", "worker.env"),
        (findings.service("API", False, "It does not run.", None), "does not", "runtime-up.sh"),
        (findings.service("S", False, "x", "preview-1"), "by hand", "start --slot preview-1"),
        (
            findings.port("api", 8000, "foreign", "process 7 (nc)"),
            "process 7",
            "Stop process 7 (nc)",
        ),
        (findings.routes({"a": "502"}, {"a": 200})[0], "502", "OROBOROS_DOMAIN"),
    ],
)
def test_what_is_not_right_says_what_was_seen_and_what_mends_it(found, word, mend):
    assert not found.ok
    assert word in found.seen
    assert mend in found.mend
    assert str(found).startswith("FAIL")
    assert str(found).endswith(found.mend)


@pytest.mark.parametrize(
    "found",
    [
        findings.systemd(252),
        findings.npm("/usr/bin/npm"),
        findings.npm(None),
        findings.disk("/srv/var", 1024, 1024),
        findings.memory(256, 256),
        findings.clock(1.9),
        findings.user("ouroboros-job", True),
        findings.installed([]),
        findings.unit("a.service", "enabled", False),
        findings.right("a", True, True),
        findings.right("a", False, False),
        findings.secret("/e", 0o100600, "me", "me"),
        findings.checkout("/srv", 0o40755, "root", "root"),
        findings.boundary(True),
        findings.boundary(False),
        findings.server("database", 150004),
        findings.admin_role("a", True, False),
        findings.open_databases([]),
        findings.remote("/r", "main", True, ""),
        findings.shipping(""),
        findings.service("API", True, "/health answered 200.", None),
        findings.port("api", 8000, "ours", ""),
        findings.port("api", 8000, "none", ""),
        *findings.routes({"app.example.com": "200", "nobody.example.com": "404"}, WELL),
    ],
)
def test_what_is_right_is_one_line(found):
    assert found.ok
    assert str(found).startswith("ok  ")
    assert "\n" not in str(found)


@pytest.fixture
def config(tmp_path):
    """Return a host of its own, on which nothing runs yet, with the tests' PostgreSQL."""
    given = {
        name: value
        for name, value in settings.OROBOROS.environ.items()
        if name.startswith(("DATABASE", "PREVIEW", "PATH"))
    }
    ours = {"OROBOROS_VAR": str(tmp_path / "var"), "OROBOROS_ENV_DIR": str(tmp_path / "env")}
    offset = {"OROBOROS_PORT_OFFSET": str(24_000 + os.getpid() % 900)}
    return configuration.load({**given, **ours, **offset})


def bad(look):
    return [found for found in look if not found.ok]


@pytest.fixture
def secrets(config):
    config.env_dir.mkdir()
    for name in systemd.SECRETS:
        path = config.env_dir / name
        path.touch(0o600)
    return config.env_dir


def test_secrets_that_others_can_read_are_told_until_they_are_mended(config, secrets):
    assert bad(examination.secrets(config)) == []
    (secrets / "api.env").chmod(0o644)
    (secrets / "app.env").unlink()
    api, app = bad(examination.secrets(config))
    assert (api.what, app.seen) == (str(secrets / "api.env"), "missing")
    subprocess.run(["sh", "-c", api.mend], check=True)
    assert [found.what for found in bad(examination.secrets(config))] == [app.what]


def test_a_stranger_on_our_port_is_named(config):
    assert bad(examination.ports(config)) == []
    with socket.create_server(("127.0.0.1", config.api_port)):
        [found] = bad(examination.ports(config))
    assert found.what == f"port {config.api_port} control API"
    assert f"Stop process {os.getpid()}" in found.mend


def test_a_worker_that_died_is_told_with_its_last_words(config, tmp_path):
    manager = managers.LocalManager(config)
    argv = (sys.executable, "-c", SERVER, str(config.worker_port))
    log, env = tmp_path / "log", {"PATH": os.defpath}
    unit = Unit("ouroboros-worker", argv, tmp_path, env, None, log, config.worker_port)
    (tmp_path / "health").touch()
    manager.start(unit)
    try:
        worker = lambda: [found for found in examination.services(config) if found.what == "Worker"]  # noqa: E731
        managers.wait_healthy(manager, unit, 10)
        assert worker()[0].ok
        os.kill(manager.status("ouroboros-worker").pid, 9)
        stop = lambda: not manager.status("ouroboros-worker").active  # noqa: E731
        managers.wait_healthy(manager, unit, 10, stop)
        [found] = worker()
    finally:
        manager.stop("ouroboros-worker")
    assert not found.ok
    assert "ended" in found.seen
    assert found.mend.startswith("./scripts/runtime-up.sh;")


def test_where_nothing_runs_every_row_is_told(config):
    assert len(bad(examination.services(config))) == len(stack.health(config)) == 10


def with_remote(config, path):
    more = {"GIT_REMOTE_URL": str(path), "GIT_LOCAL_ROOTS": str(path.parent)}
    return configuration.load({**config.environ, **more})


def test_a_git_remote_that_is_gone_is_told_in_gits_own_words(config, tmp_path):
    path = tmp_path / "team.git"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(path)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    there = with_remote(config, path)
    assert bad(examination.remote(there)) == []
    shutil.rmtree(path)
    [found] = bad(examination.remote(there))
    assert "The git remote did not answer" in found.seen
    [found] = bad(examination.remote(with_remote(config, tmp_path / "elsewhere.git")))
    assert "does not appear to be a git repository" in found.seen


def test_a_setting_that_shipping_would_refuse_is_told_by_name(config, tmp_path):
    there = with_remote(config, tmp_path / "team.git")
    assert examination.shipping(there, check_settings).ok
    more = {"MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS": "0"}
    found = examination.shipping(configuration.load({**there.environ, **more}), check_settings)
    assert not found.ok
    assert found.seen.startswith("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS must be")


def test_a_clock_that_is_off_is_told(config, monkeypatch):
    assert bad(examination.clock(config)) == []
    now = examination.time.time()
    monkeypatch.setattr(examination.time, "time", lambda: now - 3600)
    [found] = bad(examination.clock(config))
    assert "3600." in found.seen or "3599." in found.seen


def test_a_disk_and_a_memory_below_their_floors_are_told(config):
    assert bad(examination.room(config, NOTHING)) == []
    disk, memory = bad(examination.room(config, Floors(10**9, 10**9)))
    assert (disk.what, memory.what) == ("disk", "memory")
    assert "the floor is 1000000000" in memory.seen


def test_a_database_that_does_not_answer_is_told_once_for_each_role(config):
    assert [found.what for found in examination.databases(config)] == [
        "database", "previews' database", "admin's role", "closed databases",
    ]  # fmt: skip
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    gone = dict.fromkeys(DATABASES, f"postgresql://x@127.0.0.1:{port}/x")
    found = bad(examination.databases(configuration.load({**config.environ, **gone})))
    assert [one.what for one in found] == ["database", "previews' database"]
    assert "refused" in found[0].seen


DATABASES = ("DATABASE_URL", "PREVIEW_ADMIN_DATABASE_URL")


def test_a_database_that_is_open_to_all_and_a_superuser_are_told(config):
    CLUSTER.execute(["CREATE DATABASE left_open"])
    try:
        more = {"PREVIEW_ADMIN_DATABASE_URL": CLUSTER.url("postgres")}
        role, closed = bad(examination.databases(configuration.load({**config.environ, **more})))
        assert role.what == "admin's role"
        assert "left_open" in closed.seen  # the tests' own database may be open as well
        CLUSTER.execute([closed.mend.encode().decode()])
        assert [one.what for one in examination.databases(config) if not one.ok] == []
    finally:
        CLUSTER.execute(["DROP DATABASE left_open"])


def test_a_router_that_is_not_there_answers_to_no_name(config):
    found = bad(examination.routes(config))
    assert len(found) == len(config.slots) + 3
    assert all("refused" in one.seen for one in found)


def test_a_missing_program_is_told_with_how_to_get_it(config, monkeypatch, tmp_path):
    assert bad(examination.programs(config)) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [found.what for found in bad(examination.programs(config))] == ["programs", "programs"]
    assert "git" in bad(examination.programs(config))[0].mend


def test_the_command_fails_exactly_if_something_is_not_right(monkeypatch, capsys):
    right = findings.memory(256, 256)
    monkeypatch.setattr(examination, "examine", lambda *given: iter([right]))
    call_command("doctor")
    assert "ok    memory" in capsys.readouterr().out
    wrong = findings.memory(0, 256)
    monkeypatch.setattr(examination, "examine", lambda *given: iter([right, wrong]))
    with pytest.raises(CommandError, match="1 things are not right"):
        call_command("doctor")
