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

from oroboros.lib import config as configuration
from oroboros.lib import units
from oroboros.lib.units import Unit
from oroboros.runtime import doctor, rules, stack, systemd
from oroboros.runtime.doctor import Floors
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
        (rules.systemd(251), "251", "Debian 12"),
        (rules.disk("/srv/var", 100, 1024), "100 MB free in /srv/var", "RELEASES_KEEP"),
        (rules.memory(100, 256), "100 MB available", "ADMISSION_FREE_MEMORY_MB"),
        (rules.clock(3600.0), "3600.0 s", "timedatectl set-ntp true"),
        (rules.user("ouroboros-job", False), "missing", "systemd-install-runtime.sh"),
        (rules.installed(["/etc/a"]), "differ: /etc/a", "systemd-install-runtime.sh"),
        (rules.unit("a.service", "disabled", False), "disabled", "systemctl enable a.service"),
        (rules.unit("a.service", "", False), "unknown", "systemctl enable a.service"),
        (rules.unit("a.service", "enabled", True), "failed", "journalctl -n 50 -u a.service"),
        (rules.right("a", False, True), "may not", "apt-get install polkitd"),
        (rules.right("a", True, False), "may be started", "systemd-install-runtime.sh"),
        (rules.secret("/e", None, "", "me"), "missing", "again"),
        (rules.secret("/e", 0o100640, "me", "me"), "640", "chmod 600 /e"),
        (rules.secret("/e", 0o100600, "eve", "me"), "of eve", "chown me: /e"),
        (rules.checkout("/srv", 0o40775, "root", "root"), "775", "chmod go-w /srv"),
        (rules.checkout("/srv", 0o40755, "eve", "root"), "of eve", "chown root: /srv"),
        (rules.server("database", 140010), "PostgreSQL 14", "15 or newer"),
        (rules.unreachable("database", "no route\nmore"), "no route", "runtime-up.sh"),
        (rules.admin_role("a", False, False), "lacks", "ALTER ROLE a CREATEDB CREATEROLE"),
        (rules.admin_role("a", True, True), "superuser", "NOSUPERUSER"),
        (rules.open_databases(["b", "a"]), "a, b", "REVOKE CONNECT ON DATABASE a, b FROM PUBLIC"),
        (rules.remote("", "main", False, ""), "not configured", "GIT_REMOTE_URL"),
        (rules.remote("/r", "main", False, "fatal: gone"), "fatal: gone", "worker.env"),
        (rules.shipping("X is wrong."), "X is wrong.", "worker.env"),
        (rules.service("API", False, "It does not run.", None), "does not", "runtime-up.sh"),
        (rules.service("S", False, "x", "preview-1"), "by hand", "start --slot preview-1"),
        (rules.port("api", 8000, "foreign", "process 7 (nc)"), "process 7", "Stop process 7 (nc)"),
        (rules.routes({"a": "502"}, {"a": 200})[0], "502", "OROBOROS_DOMAIN"),
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
        rules.systemd(252),
        rules.npm("/usr/bin/npm"),
        rules.npm(None),
        rules.disk("/srv/var", 1024, 1024),
        rules.memory(256, 256),
        rules.clock(1.9),
        rules.user("ouroboros-job", True),
        rules.installed([]),
        rules.unit("a.service", "enabled", False),
        rules.right("a", True, True),
        rules.right("a", False, False),
        rules.secret("/e", 0o100600, "me", "me"),
        rules.checkout("/srv", 0o40755, "root", "root"),
        rules.boundary(True),
        rules.boundary(False),
        rules.server("database", 150004),
        rules.admin_role("a", True, False),
        rules.open_databases([]),
        rules.remote("/r", "main", True, ""),
        rules.shipping(""),
        rules.service("API", True, "/health answered 200.", None),
        rules.port("api", 8000, "ours", ""),
        rules.port("api", 8000, "none", ""),
        *rules.routes({"app.example.com": "200", "nobody.example.com": "404"}, WELL),
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
    assert bad(doctor.secrets(config)) == []
    (secrets / "api.env").chmod(0o644)
    (secrets / "app.env").unlink()
    api, app = bad(doctor.secrets(config))
    assert (api.what, app.seen) == (str(secrets / "api.env"), "missing")
    subprocess.run(["sh", "-c", api.mend], check=True)
    assert [found.what for found in bad(doctor.secrets(config))] == [app.what]


def test_a_stranger_on_our_port_is_named(config):
    assert bad(doctor.ports(config)) == []
    with socket.create_server(("127.0.0.1", config.api_port)):
        [found] = bad(doctor.ports(config))
    assert found.what == f"port {config.api_port} control API"
    assert f"Stop process {os.getpid()}" in found.mend


def test_a_worker_that_died_is_told_with_its_last_words(config, tmp_path):
    manager = units.LocalManager(config)
    argv = (sys.executable, "-c", SERVER, str(config.worker_port))
    log, env = tmp_path / "log", {"PATH": os.defpath}
    unit = Unit("ouroboros-worker", argv, tmp_path, env, None, log, config.worker_port)
    (tmp_path / "health").touch()
    manager.start(unit)
    try:
        worker = lambda: [found for found in doctor.services(config) if found.what == "Worker"]  # noqa: E731
        units.wait_healthy(manager, unit, 10)
        assert worker()[0].ok
        os.kill(manager.status("ouroboros-worker").pid, 9)
        stop = lambda: not manager.status("ouroboros-worker").active  # noqa: E731
        units.wait_healthy(manager, unit, 10, stop)
        [found] = worker()
    finally:
        manager.stop("ouroboros-worker")
    assert not found.ok
    assert "ended" in found.seen
    assert found.mend.startswith("./scripts/runtime-up.sh;")


def test_where_nothing_runs_every_row_is_told(config):
    assert len(bad(doctor.services(config))) == len(stack.health(config)) == 10


def with_remote(config, path):
    more = {"GIT_REMOTE_URL": str(path), "GIT_LOCAL_ROOTS": str(path.parent)}
    return configuration.load({**config.environ, **more})


def test_a_git_remote_that_is_gone_is_told_in_gits_own_words(config, tmp_path):
    path = tmp_path / "team.git"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(path)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    there = with_remote(config, path)
    assert bad(doctor.remote(there)) == []
    shutil.rmtree(path)
    [found] = bad(doctor.remote(there))
    assert "The git remote did not answer" in found.seen
    [found] = bad(doctor.remote(with_remote(config, tmp_path / "elsewhere.git")))
    assert "does not appear to be a git repository" in found.seen


def test_a_setting_that_shipping_would_refuse_is_told_by_name(config, tmp_path):
    there = with_remote(config, tmp_path / "team.git")
    assert doctor.shipping(there, check_settings).ok
    more = {"MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS": "0"}
    found = doctor.shipping(configuration.load({**there.environ, **more}), check_settings)
    assert not found.ok
    assert found.seen.startswith("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS must be")


def test_a_clock_that_is_off_is_told(config, monkeypatch):
    assert bad(doctor.clock(config)) == []
    now = doctor.time.time()
    monkeypatch.setattr(doctor.time, "time", lambda: now - 3600)
    [found] = bad(doctor.clock(config))
    assert "3600." in found.seen or "3599." in found.seen


def test_a_disk_and_a_memory_below_their_floors_are_told(config):
    assert bad(doctor.room(config, NOTHING)) == []
    disk, memory = bad(doctor.room(config, Floors(10**9, 10**9)))
    assert (disk.what, memory.what) == ("disk", "memory")
    assert "the floor is 1000000000" in memory.seen


def test_a_database_that_does_not_answer_is_told_once_for_each_role(config):
    assert [found.what for found in doctor.databases(config)] == [
        "database", "previews' database", "admin's role", "closed databases",
    ]  # fmt: skip
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    gone = dict.fromkeys(DATABASES, f"postgresql://x@127.0.0.1:{port}/x")
    found = bad(doctor.databases(configuration.load({**config.environ, **gone})))
    assert [one.what for one in found] == ["database", "previews' database"]
    assert "refused" in found[0].seen


DATABASES = ("DATABASE_URL", "PREVIEW_ADMIN_DATABASE_URL")


def test_a_database_that_is_open_to_all_and_a_superuser_are_told(config):
    CLUSTER.execute(["CREATE DATABASE left_open"])
    try:
        more = {"PREVIEW_ADMIN_DATABASE_URL": CLUSTER.url("postgres")}
        role, closed = bad(doctor.databases(configuration.load({**config.environ, **more})))
        assert role.what == "admin's role"
        assert "left_open" in closed.seen  # the tests' own database may be open as well
        CLUSTER.execute([closed.mend.encode().decode()])
        assert [one.what for one in doctor.databases(config) if not one.ok] == []
    finally:
        CLUSTER.execute(["DROP DATABASE left_open"])


def test_a_router_that_is_not_there_answers_to_no_name(config):
    found = bad(doctor.routes(config))
    assert len(found) == len(config.slots) + 3
    assert all("refused" in one.seen for one in found)


def test_a_missing_program_is_told_with_how_to_get_it(config, monkeypatch, tmp_path):
    assert bad(doctor.programs(config)) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [found.what for found in bad(doctor.programs(config))] == ["programs", "programs"]
    assert "git" in bad(doctor.programs(config))[0].mend


def test_the_command_fails_exactly_if_something_is_not_right(monkeypatch, capsys):
    right = rules.memory(256, 256)
    monkeypatch.setattr(doctor, "examine", lambda *given: iter([right]))
    call_command("doctor")
    assert "ok    memory" in capsys.readouterr().out
    wrong = rules.memory(0, 256)
    monkeypatch.setattr(doctor, "examine", lambda *given: iter([right, wrong]))
    with pytest.raises(CommandError, match="1 things are not right"):
        call_command("doctor")
