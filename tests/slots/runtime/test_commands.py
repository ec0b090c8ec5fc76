"""The slot's commands, as the shell scripts run them."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from host import config as configuration
from host.deadline import wait_until
from host.files import log_files, ownership
from host.postgres import administration, guard, lock_timeout
from ops.postgres.embedded_server import Cluster
from slots.runtime import backend, backend_log, cleanup, spec, worktree
from slots.runtime.__main__ import run_command
from slots.runtime.spec import Spec
from tests.environment import FAST, PASSWORD, free_offset, free_port
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.test_backend import COMMIT, RUN, SERVE

MIGRATION = """
import os
import psycopg
assert os.environ["DATABASE_URL"].endswith("/app_preview_1")
with psycopg.connect(os.environ["DATABASE_URL"]) as session:
    session.execute("ALTER TABLE entry ADD COLUMN reaction text")
"""


@pytest.fixture
def environ(folder, config, monkeypatch):
    """The environment of this test's checkout, for its subprocesses and for `run_command` here."""
    own = {
        "OROBOROS_VAR": str(config.var),
        "OROBOROS_PORT_OFFSET": str(free_offset()),
        "OROBOROS_UID_BASE": str(config.uid_base),
        "OROBOROS_RUNTIME_LOG_DIR": str(folder / "runtime-logs"),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    yield dict(os.environ)
    loaded = configuration.load()
    assert cleanup.clean_slot(loaded, loaded.slots[0]) == []
    backend.stop(loaded, loaded.slots[0])


def run(environ, *words):
    """Run the command as a process of its own; return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "slots.runtime", *words],
        env=environ,
        capture_output=True,
        timeout=180,
    )
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1)
    assert b"Traceback" not in done.stderr
    return answer


def test_runbook_commands_on_a_free_slot(environ):
    port = configuration.load().slots[0].backend_port
    for words in (
        ["restart", "--slot", "preview-1"],
        ["status", "--slot", "preview1"],
        ["health", "--slot", "preview-1"],
        ["stop", "--slot", "preview-1"],
        ["start", "--slot", "preview-1"],
    ):
        answer = run(environ, *words)
        assert (answer["ok"], answer["command"], answer["slot_id"]) == (True, words[0], "preview-1")
        assert (answer["port"], answer["run"], answer["db_name"]) == (port, None, None)
        if words[0] == "stop":
            assert (answer["occupant"], answer["health"], answer["pid"]) == (
                "none",
                "stopped",
                None,
            )
        else:
            assert (answer["occupant"], answer["health"]) == ("idle", "healthy")
            assert os.path.exists(answer["log_file"])
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
def test_invalid_slot_id_is_refused_and_writes_nothing(environ, config, slot_id):
    answer = run_command(["status", f"--slot={slot_id}"])
    assert (answer["ok"], answer["error"]) == (False, "slot_id_invalid")
    assert not (config.var / "slots").exists()


def test_unknown_slot_and_unknown_command_are_refused_with_a_code(environ):
    assert run_command(["status", "--slot", "preview-9"])["error"] == "slot_unknown"
    assert run_command(["explode", "--slot", "preview-1"])["error"] == "usage"
    assert run_command(["status"])["error"] == "usage"
    assert run_command([])["error"] == "usage"
    assert run_command(["status", "--slot", "-rf"])["error"] == "usage"


def test_health_of_a_stopped_slot_fails(environ):
    run_command(["stop", "--slot", "preview-1"])
    answer = run(environ, "health", "--slot", "preview-1")
    assert (answer["ok"], answer["error"], answer["health"]) == (
        False,
        "backend_unhealthy",
        "stopped",
    )


def test_start_on_a_taken_port_is_refused(environ):
    with echo(configuration.load().slots[0].backend_port):
        answer = run(environ, "start", "--slot", "preview-1")
    assert (answer["ok"], answer["error"]) == (False, "port_taken")


def test_migrate_of_a_free_slot_runs_the_guard_and_applies_nothing(environ):
    answer = run(environ, "migrate", "--slot", "preview-1")
    assert (answer["ok"], answer["applied"], answer["reason"]) == (True, [], "SLOT_IDLE")
    assert run_command(["migrate", "--slot", "preview-1", "--dry-run"])["dry_run"]
    environ[guard.SETTING] = "postgresql://127.0.0.1/postgres"
    stopped = run(environ, "stop", "--slot", "preview-1")
    for words in (["migrate"], ["migrate", "--dry-run"], ["reset"], ["start"], ["restart"]):
        answer = run(environ, *words, "--slot", "preview-1")
        assert (answer["ok"], answer["error"]) == (False, "unsafe_database_target")
        assert answer["fields"] == {guard.SETTING: "db_name_protected"}
    found = run(environ, "status", "--slot", "preview-1")
    assert found == stopped | {"command": "status"}


@pytest.fixture
def leased(environ):
    """A run on the first slot, with a clone of a template, a backend and a `release:`."""
    config = configuration.load()
    slot = config.slots[0]
    admin, template = administration.DatabaseAdmin(config), guard.template_name("c" * 40)
    target = guard.resolve_target(config, slot)
    secret = admin.ensure_role(template)
    admin.create(template, template)
    import psycopg

    at_template = replace(target, database=template)
    with psycopg.connect(guard.server_url(at_template, template, secret)) as session:
        session.execute("CREATE TABLE entry (id int)")
    admin.seal_template(template)
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    worktree.prepare_folder(config, slot)
    tree = worktree.path(slot)
    tree.mkdir()
    (tree / "app.py").write_text(SERVE + RUN)
    (tree / "migration.py").write_text(MIGRATION)
    ownership.give_tree(tree, config.slot_user(slot))
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
    cleanup.clean_slot(config, slot)
    admin.drop(template)


def test_slot_of_a_run_is_migrated_and_reset_by_hand(environ, leased):
    assert run_command(["start", "--slot", "preview-1"])["ok"]
    dry = run_command(["migrate", "--slot", "preview-1", "--dry-run"])
    assert (dry["ok"], dry["applied"], dry["reason"]) == (True, [], "DRY_RUN")
    password = spec.read_environment(leased.slots[0])["PGPASSWORD"]
    assert "app_preview_1:••••••••@" in dry["command"][-1]
    done = run(environ, "migrate", "--slot", "preview-1")
    assert done["ok"], done
    assert password not in json.dumps(done)
    log = leased.var / "log" / "slots" / "preview-1-migrate.log"
    os.truncate(log, log_files.LOG_BYTES + 1)
    assert done["changes"] == [{"kind": "adds", "text": "adds column public.entry.reaction (text)"}]
    again = run_command(["migrate", "--slot", "preview-1"])
    assert (again["ok"], again["error"]) == (False, "migration_failed")
    assert "already exists" in again["detail"]
    assert log.with_name(f"{log.name}.1").stat().st_size > log_files.LOG_BYTES > log.stat().st_size
    reset = run(environ, "reset", "--slot", "preview-1")
    assert (reset["ok"], reset["reset"], len(reset["changes"])) == (True, True, 1)
    answer = run_command(["status", "--slot", "preview-1"])
    assert (answer["run"], answer["occupant"], answer["health"]) == ("17", "run", "healthy")
    assert "it works" not in json.dumps(answer)


def test_a_migration_by_hand_that_waits_for_a_lock_lets_readers_through(leased, monkeypatch):
    import psycopg

    monkeypatch.setenv("RELEASE_LOCK_TIMEOUT_SECONDS", "1")
    slot = leased.slots[0]
    url = guard.strip_driver(spec.read_environment(slot)["DATABASE_URL"])
    with psycopg.connect(url) as session:
        session.execute("SELECT count(*) FROM entry")  # as a page that is slow
        monkeypatch.setattr(lock_timeout, "pause", lambda seconds, stop: session.rollback())
        answer = run_command(["migrate", "--slot", "preview-1"])
        assert answer["ok"], answer
        assert "process" in answer["notes"][0]
    with psycopg.connect(url) as session:
        assert session.execute("SHOW lock_timeout").fetchone() == ("0",)


@pytest.fixture
def another_server(folder):
    """A second PostgreSQL, on which the administrator has the same password."""
    cluster = Cluster(folder / "another", free_port(), configuration.load().postgres_user)
    cluster.start(FAST)
    cluster.ensure_role("oroboros_admin", PASSWORD, "CREATEDB", "CREATEROLE")
    yield cluster
    cluster.stop()


def test_target_on_another_server_is_refused_before_anything_is_done(
    leased, another_server, monkeypatch
):
    assert run_command(["start", "--slot", "preview-1"])["ok"]
    before = slot_database(leased)
    monkeypatch.setenv(guard.SETTING, f"postgresql://127.0.0.1:{another_server.port}/{{db_name}}")
    pid = run_command(["status", "--slot", "preview-1"])["pid"]
    for command in ("reset", "migrate", "restart", "start"):
        answer = run_command([command, "--slot", "preview-1"])
        assert (answer["ok"], answer["error"]) == (False, "unsafe_database_target")
        assert answer["fields"] == {guard.SETTING: "db_target_is_another"}
    assert slot_database(leased) == before
    answer = run_command(["health", "--slot", "preview-1"])
    assert (answer["health"], answer["pid"]) == ("healthy", pid)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://app_preview_1:x@127.0.0.1:{port}/app_preview_2"),
        ("DATABASE_URL", "postgresql+psycopg://app_preview_1:x@127.0.0.1:1/app_preview_1"),
        ("PGDATABASE", "oroboros"),
        ("PGUSER", "postgres"),
    ],
)
@pytest.mark.parametrize("command", ["start", "restart"])
def test_start_and_restart_refuse_an_environment_that_names_another_database(
    leased, command, name, value
):
    slot = leased.slots[0]
    target = guard.resolve_target(leased, slot)
    before = run_command(["start", "--slot", "preview-1"])
    assert before["db_name"] == "app_preview_1"
    environment = spec.read_environment(slot) | {name: value.format(port=target.port)}
    backend.write_spec(leased, slot, spec.read(slot), environment)
    answer = run_command([command, "--slot", "preview-1"])
    assert (answer["ok"], answer["error"]) == (False, "unsafe_database_target")
    assert answer["fields"] == {guard.SETTING: "db_target_is_another"}
    after = run_command(["status", "--slot", "preview-1"])
    assert (after["pid"], after["health"]) == (before["pid"], "healthy")


def test_start_refuses_a_database_that_its_role_cannot_reach(leased):
    slot = leased.slots[0]
    administration.DatabaseAdmin(leased).ensure_role(slot.database)  # with another password
    answer = run_command(["start", "--slot", "preview-1"])
    assert (answer["ok"], answer["error"]) == (False, "database_unreachable")
    assert run_command(["status", "--slot", "preview-1"])["pid"] is None


def test_status_shows_the_database_in_the_backends_environment(leased):
    slot = leased.slots[0]
    environment = spec.read_environment(slot) | {"DATABASE_URL": "postgresql://h/app%5Fother"}
    backend.write_spec(leased, slot, spec.read(slot), environment)
    assert run_command(["status", "--slot", "preview-1"])["db_name"] == "app_other"
    environment |= {"DATABASE_URL": "jdbc:x", "PGDATABASE": "app_preview_1"}
    backend.write_spec(leased, slot, spec.read(slot), environment)
    assert run_command(["status", "--slot", "preview-1"])["db_name"] == "app_preview_1"
    backend.write_spec(leased, slot, spec.read(slot), {})
    assert run_command(["status", "--slot", "preview-1"])["db_name"] is None


def slot_database(config):
    """Return the database's oid, which changes if it is dropped and created again."""
    with administration.DatabaseAdmin(config).connection() as connection:
        query = "SELECT oid FROM pg_database WHERE datname = 'app_preview_1'"
        return connection.execute(query).fetchone()


@pytest.mark.parametrize(("word", "health"), [("start", "healthy"), ("stop", "stopped")])
def test_failed_reset_leaves_the_backend_as_it_was_and_says_so(leased, word, health):
    assert run_command([word, "--slot", "preview-1"])["ok"]
    (worktree.path(leased.slots[0]) / "migration.py").write_text("raise SystemExit('no good')")
    answer = run_command(["reset", "--slot", "preview-1"])
    assert (answer["ok"], answer["error"]) == (False, "migration_failed")
    assert "no good" in answer["detail"]
    sentences = {"healthy": "The backend runs again.", "stopped": "stopped before, and still is."}
    assert answer["detail"].endswith(sentences[health])
    found = run_command(["status", "--slot", "preview-1"])
    assert (found["health"], found["wanted"]) == (health, "up" if health == "healthy" else "down")


def test_failed_reset_whose_backend_does_not_start_says_so(leased):
    assert run_command(["start", "--slot", "preview-1"])["ok"]
    tree = worktree.path(leased.slots[0])
    (tree / "migration.py").write_text("raise SystemExit('no good')")
    (tree / "app.py").write_text("raise SystemExit('broken too')")
    answer = run_command(["reset", "--slot", "preview-1"])
    assert answer["error"] == "migration_failed"
    assert "was started again, and failed" in answer["detail"]
    assert "broken too" in answer["detail"]
    assert run_command(["status", "--slot", "preview-1"])["wanted"] == "up"


def test_logs_are_written_to_stderr(environ, leased):
    run_command(["start", "--slot", "preview-1"])
    log = backend_log.path(leased, leased.slots[0])
    assert wait_until(lambda: log.read_text() == "serving\n", seconds=60)  # copied from a pipe
    done = subprocess.run(
        [sys.executable, "-m", "slots.runtime", "logs", "--slot", "preview-1", "-n", "5"],
        env=environ, capture_output=True, timeout=180,
    )  # fmt: skip
    assert done.stderr == b"serving\n"
    assert json.loads(done.stdout)["lines"] == 1


def test_status_imports_neither_django_nor_psycopg(environ):
    code = (
        "import sys; from slots.runtime.__main__ import run_command;"
        "run_command(['status', '--slot', 'preview-1']);"
        "sys.exit(any(name in sys.modules for name in ('django', 'psycopg', 'rest_framework')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environ, timeout=120).returncode == 0
