"""The commands as the shell scripts run them: one JSON object, an exit code that is true."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from host import config as configuration
from host.files import log_files, ownership
from host.postgres import administration, guard
from ops.postgres.embedded_server import Cluster
from slots.runtime import backend, cleanup, spec, worktree
from slots.runtime.__main__ import answer
from slots.runtime.spec import Spec
from tests.environment import FAST, PASSWORD, free_port
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.test_backend import COMMIT, RUN, SERVE

OFFSET = "12000"
MIGRATION = """
import os
import psycopg
assert os.environ["DATABASE_URL"].endswith("/app_preview_1")
with psycopg.connect(os.environ["DATABASE_URL"]) as session:
    session.execute("ALTER TABLE entry ADD COLUMN reaction text")
"""


@pytest.fixture
def environ(folder, config, monkeypatch):
    """What a shell of this test's checkout has; here too, since `answer` reads it as well."""
    own = {
        "OROBOROS_VAR": str(config.var),
        "OROBOROS_PORT_OFFSET": OFFSET,
        "OROBOROS_UID_BASE": str(config.uid_base),
        "OROBOROS_RUNTIME_LOG_DIR": str(folder / "runtime-logs"),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    yield dict(os.environ)
    loaded = configuration.load()
    assert cleanup.clean(loaded, loaded.slots[0]) == []
    backend.stop(loaded, loaded.slots[0])


def run(environ, *words):
    """Run the command as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "slots.runtime", *words],
        env=environ,
        capture_output=True,
        timeout=60,
    )
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["ok"] else 1)
    assert b"Traceback" not in done.stderr
    return said


def test_the_runbooks_commands_on_a_free_slot(environ):
    for words in (
        ["restart", "--slot", "preview-1"],
        ["status", "--slot", "preview1"],
        ["health", "--slot", "preview-1"],
        ["stop", "--slot", "preview-1"],
        ["start", "--slot", "preview-1"],
    ):
        said = run(environ, *words)
        assert (said["ok"], said["command"], said["slot_id"]) == (True, words[0], "preview-1")
        assert (said["port"], said["db_name"]) == (20101, "app_preview_1")
        assert said["run"] is None
        if words[0] == "stop":
            assert (said["occupant"], said["health"], said["pid"]) == ("none", "stopped", None)
        else:
            assert (said["occupant"], said["health"]) == ("idle", "healthy")
            assert os.path.exists(said["log_file"])
    assert run(environ, "start", "--slot", "preview-1")["already_running"]


@pytest.mark.parametrize(
    "slot_id",
    [
        "",
        "Slot-1",
        "Preview-1",
        "preview-1/..",
        "-rf",
        "preview-1\n",
        "preview\x00-1",
        "preview-1@evil.service",
        "admin",
        "preview-01",
        "preview-",
        "../preview-1",
        "preview--1",
        "preview-１",
    ],
)
def test_a_bad_slot_id_is_refused_and_nothing_is_written(environ, config, slot_id):
    said = answer(["status", f"--slot={slot_id}"])
    assert (said["ok"], said["error"]) == (False, "slot_id_invalid")
    assert not (config.var / "slots").exists()


def test_an_unknown_slot_and_a_wrong_word_are_refused_with_a_code(environ):
    assert answer(["status", "--slot", "preview-9"])["error"] == "slot_unknown"
    assert answer(["explode", "--slot", "preview-1"])["error"] == "usage"
    assert answer(["status"])["error"] == "usage"
    assert answer([])["error"] == "usage"
    assert answer(["status", "--slot", "-rf"])["error"] == "usage"


def test_health_of_a_stopped_slot_fails(environ):
    answer(["stop", "--slot", "preview-1"])
    said = run(environ, "health", "--slot", "preview-1")
    assert (said["ok"], said["error"], said["health"]) == (False, "backend_unhealthy", "stopped")


def test_a_taken_port_is_said(environ):
    with echo(20101):
        said = run(environ, "start", "--slot", "preview-1")
    assert (said["ok"], said["error"]) == (False, "port_taken")


def test_migrating_a_free_slot_applies_nothing_after_the_guard(environ):
    said = run(environ, "migrate", "--slot", "preview-1")
    assert (said["ok"], said["applied"], said["reason"]) == (True, [], "SLOT_IDLE")
    assert answer(["migrate", "--slot", "preview-1", "--dry-run"])["dry_run"]
    environ[guard.SETTING] = "postgresql://127.0.0.1/postgres"
    for words in (["migrate"], ["migrate", "--dry-run"], ["reset"]):
        said = run(environ, *words, "--slot", "preview-1")
        assert (said["ok"], said["error"]) == (False, "unsafe_database_target")
        assert said["fields"] == {guard.SETTING: "db_name_protected"}


@pytest.fixture
def leased(environ):
    """A run on the first slot: a database from a template, a backend, a `release:`."""
    config = configuration.load()
    slot = config.slots[0]
    admin, template = administration.Admin(config), guard.template_name("c" * 40)
    target = guard.target(config, slot)
    secret = admin.ensure_role(guard.TEMPLATE_ROLE)
    admin.create(template, guard.TEMPLATE_ROLE)
    import psycopg

    at_template = replace(target, database=template)
    with psycopg.connect(guard.server_url(at_template, guard.TEMPLATE_ROLE, secret)) as session:
        session.execute("CREATE TABLE entry (id int)")
    admin.seal_template(template)
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    worktree.prepare_folder(config, slot)
    tree = worktree.path(slot)
    tree.mkdir()
    (tree / "app.py").write_text(SERVE + RUN)
    (tree / "migration.py").write_text(MIGRATION)
    ownership.give(tree, config.slot_user(slot))
    values = {
        "PORT": str(slot.backend_port),
        "SAYS": "it works",
        "PATH": os.defpath,
        "DATABASE_URL": guard.application_url(target, slot.database, password),
        "PGPASSWORD": password,
    }
    wanted = Spec(
        "17", COMMIT, 1, (sys.executable, "-u", "app.py"), tree,
        release=(sys.executable, "migration.py", values["DATABASE_URL"]), template=template,
    )  # fmt: skip
    backend.write_spec(config, slot, wanted, values)
    yield config
    cleanup.clean(config, slot)
    admin.drop(template)


def test_a_runs_slot_is_migrated_and_reset_by_hand(environ, leased):
    assert answer(["start", "--slot", "preview-1"])["ok"]
    dry = answer(["migrate", "--slot", "preview-1", "--dry-run"])
    assert (dry["ok"], dry["applied"], dry["reason"]) == (True, [], "DRY_RUN")
    password = spec.environment(leased.slots[0])["PGPASSWORD"]
    assert "app_preview_1:••••••••@" in dry["command"][-1]
    done = run(environ, "migrate", "--slot", "preview-1")
    assert done["ok"], done
    assert password not in json.dumps(done)
    log = leased.var / "log" / "slots" / "preview-1-migrate.log"
    os.truncate(log, log_files.LOG_BYTES + 1)
    assert done["changes"] == [{"kind": "adds", "text": "adds column public.entry.reaction (text)"}]
    again = answer(["migrate", "--slot", "preview-1"])
    assert (again["ok"], again["error"]) == (False, "migration_failed")
    assert "already exists" in again["detail"]
    assert log.with_name(f"{log.name}.1").stat().st_size > log_files.LOG_BYTES > log.stat().st_size
    reset = run(environ, "reset", "--slot", "preview-1")
    assert (reset["ok"], reset["reset"], len(reset["changes"])) == (True, True, 1)
    said = answer(["status", "--slot", "preview-1"])
    assert (said["run"], said["occupant"], said["health"]) == ("17", "run", "healthy")
    assert "it works" not in json.dumps(said)


@pytest.fixture
def another_server(folder):
    """A PostgreSQL on a port of its own, which knows the admin by the same password."""
    cluster = Cluster(folder / "another", free_port(), configuration.load().postgres_user)
    cluster.start(FAST)
    cluster.ensure_role("oroboros_admin", PASSWORD, "CREATEDB", "CREATEROLE")
    yield cluster
    cluster.stop()


def test_a_target_on_another_server_is_refused_before_anything_is_done(
    leased, another_server, monkeypatch
):
    assert answer(["start", "--slot", "preview-1"])["ok"]
    before = slot_database(leased)
    monkeypatch.setenv(guard.SETTING, f"postgresql://127.0.0.1:{another_server.port}/{{db_name}}")
    for command in ("reset", "migrate"):
        said = answer([command, "--slot", "preview-1"])
        assert (said["ok"], said["error"]) == (False, "unsafe_database_target")
        assert said["fields"] == {guard.SETTING: "db_target_is_another"}
    assert slot_database(leased) == before
    assert answer(["health", "--slot", "preview-1"])["health"] == "healthy"


def slot_database(config):
    """Return what a database that was dropped and made anew would have another of."""
    with administration.Admin(config).connected() as connection:
        query = "SELECT oid FROM pg_database WHERE datname = 'app_preview_1'"
        return connection.execute(query).fetchone()


@pytest.mark.parametrize(("word", "health"), [("start", "healthy"), ("stop", "stopped")])
def test_a_reset_that_fails_leaves_the_backend_as_it_was_and_says_so(leased, word, health):
    assert answer([word, "--slot", "preview-1"])["ok"]
    (worktree.path(leased.slots[0]) / "migration.py").write_text("raise SystemExit('no good')")
    said = answer(["reset", "--slot", "preview-1"])
    assert (said["ok"], said["error"]) == (False, "migration_failed")
    assert "no good" in said["detail"]
    told = {"healthy": "The backend runs again.", "stopped": "stopped before, and still is."}
    assert said["detail"].endswith(told[health])
    found = answer(["status", "--slot", "preview-1"])
    assert (found["health"], found["wanted"]) == (health, "up" if health == "healthy" else "down")


def test_a_reset_whose_backend_does_not_come_back_says_that_too(leased):
    assert answer(["start", "--slot", "preview-1"])["ok"]
    tree = worktree.path(leased.slots[0])
    (tree / "migration.py").write_text("raise SystemExit('no good')")
    (tree / "app.py").write_text("raise SystemExit('broken too')")
    said = answer(["reset", "--slot", "preview-1"])
    assert said["error"] == "migration_failed"
    assert "was started again, and failed" in said["detail"]
    assert "broken too" in said["detail"]
    assert answer(["status", "--slot", "preview-1"])["wanted"] == "up"


def test_logs_are_shown_on_stderr(environ, leased):
    answer(["start", "--slot", "preview-1"])
    done = subprocess.run(
        [sys.executable, "-m", "slots.runtime", "logs", "--slot", "preview-1", "-n", "5"],
        env=environ, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == b"serving\n"
    assert json.loads(done.stdout)["lines"] == 1


def test_looking_at_a_slot_imports_neither_django_nor_psycopg(environ):
    code = (
        "import sys; from slots.runtime.__main__ import answer;"
        "answer(['status', '--slot', 'preview-1']);"
        "sys.exit(any(name in sys.modules for name in ('django', 'psycopg', 'rest_framework')))"
    )
    begun = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], env=environ, timeout=20).returncode == 0
    assert time.monotonic() - begun < 5
