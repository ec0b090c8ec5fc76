"""Every bad input at a preview's boundaries: refused with its code, nothing executed or written.

What each guard refuses besides, its own room's tests say; here none of the list is forgotten.
Branches and commits of a request, tests/runs/api/test_runs.py sends.
"""

import json
import socket
from contextlib import suppress

import pytest

from host.app import command_policy, environment, manifest_loader
from host.app.manifest import Manifest
from host.config import load, load_env_files
from host.errors import Refused
from host.git import validation
from host.git.bare_repository import Repository
from host.postgres import guard
from host.process import runner
from host.units.health import probe_unit
from host.units.unit import UnitStatus
from slots.runtime.__main__ import COMMANDS, run_command
from tests.environment import free_port
from tests.runs.pipelines.preview import effects
from tests.slots.runtime.answering_backend import echo

LONG = "x" * 60
NAMED = "postgresql://localhost/app_preview_1"
COMMIT = "c" * 40


def said_of(words):
    """Return what a command of the shell says to refuse the words."""
    with effects.none():
        said = run_command(words)
    assert not said["ok"]
    return said


def database(given, monkeypatch):
    monkeypatch.setenv(guard.SETTING, given)
    reasons = set()
    for words in (["migrate"], ["migrate", "--dry-run"], ["reset"]):
        said = said_of([*words, "--slot=preview-1"])
        assert said["error"] == "unsafe_database_target"
        reasons.add(said["fields"][guard.SETTING])
    (reason,) = reasons
    return reason


def env_file(given, tmp_path):
    for name in ("api.env", "worker.env"):
        (tmp_path / name).write_text(given)
    return code_of(load_env_files, {"OROBOROS_ENV_DIR": str(tmp_path)})


def application_env(given, tmp_path):
    (tmp_path / environment.PREVIEW_FILE).write_text(given)
    config = load({"OROBOROS_ENV_DIR": str(tmp_path), "SECRET_KEY": "k" * 40})
    built = {"home": tmp_path, "purpose": "preview-1"}
    return code_of(environment.build_environment, config, {}, Manifest(), **built)


def git_url(given, tmp_path):
    config = load({"GIT_LOCAL_ROOTS": "/srv/git", "GIT_ALLOWED_HOSTS": "git.example"})
    repository, log = Repository(tmp_path / "repo.git", config), tmp_path / "log"
    asked = code_of(repository.read_remote_head, given, "main")
    assert code_of(repository.push, given, COMMIT, "main", log=log) == asked
    assert list(tmp_path.iterdir()) == []
    return asked


def argv(given, tmp_path):
    options = {"cwd": tmp_path, "root": tmp_path, "bins": []}
    return code_of(
        command_policy.resolve_program,
        given,
        load({"WORKER_ALLOWED_COMMANDS": "bash git tar"}),
        **options,
    )


def health_path(given, tmp_path):
    backend = f"[backend]\nweb = ['python', 'x.py']\nhealth_path = {json.dumps(given)}\n"
    (tmp_path / "oroboros.toml").write_text(backend)
    return code_of(manifest_loader.load_manifest, tmp_path)


def code_of(guarded, *given, **options):
    with effects.none(), pytest.raises(Refused) as refusal:
        guarded(*given, **options)
    assert refusal.value.status == 400
    return refusal.value.code


@pytest.mark.parametrize(
    "effect",
    [
        lambda place: place.write_text("x"),
        lambda place: place.mkdir(),
        lambda place: place.unlink(missing_ok=True),
        lambda place: runner.capture(["true"], timeout=60),
        lambda place: socket.create_connection(("127.0.0.1", 1), 1),
    ],
    ids=["writes", "makes", "deletes", "executes", "connects"],
)
def test_forbidden_effects_of_a_guard_are_detected(effect, tmp_path):
    with pytest.raises(AssertionError), effects.none(), suppress(OSError):
        effect(tmp_path / "x")


@pytest.mark.parametrize(
    "given",
    ["", "Slot-1", "preview-1/..", "-rf", "preview-1\n", "preview\0-1", "preview-1@evil.service",
     "admin"],
)  # fmt: skip
@pytest.mark.parametrize("word", COMMANDS)
def test_a_slot_id(word, given):
    assert said_of([word, f"--slot={given}"])["error"] == "slot_id_invalid"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("-uorigin", "ref_invalid"),
        ("--output=/etc/cron.d/x", "ref_invalid"),
        ("main --force", "ref_invalid"),
        ("a..b", "ref_invalid"),
        ("@", "ref_invalid"),
        ("HEAD", "ref_invalid"),
        ("FETCH_HEAD", "ref_invalid"),
        ("feature:main", "ref_invalid"),
        (":/fix bug", "ref_invalid"),
        ("feature.lock", "ref_invalid"),
        ("x" * 300, "ref_too_long"),
    ],
)
def test_a_branch(given, code):
    assert code_of(validation.validate_ref, given) == code


@pytest.mark.parametrize("given", ["deadbee", "DEADBEEF" * 5, "HEAD~1"])
def test_a_commit(given):
    assert code_of(validation.validate_sha, given) == "sha_invalid"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("file:///etc", "git_url_scheme"),
        ("fd::17/foo", "git_url_scheme"),
        ("ssh://-oProxyCommand=touch%20x/repo", "git_url_invalid"),
        ("https://git.example@evil.example/x.git", "git_url_host"),
        ("https://git.example/x.git\n[core]\n\tfsmonitor=touch x", "git_url_invalid"),
        ("http://169.254.169.254/latest/", "git_url_scheme"),
    ],
)
def test_a_remote(given, code, tmp_path):
    assert git_url(given, tmp_path) == code


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("postgresql://h/app_preview_1?d%62name=oroboros", "db_url_query"),
        (f"{NAMED}?dbname=app_preview_1&dbname=oroboros", "db_url_query"),
        (f"{NAMED}?host=prod.db", "db_url_query"),
        (f"{NAMED}?hostaddr=10.0.0.5", "db_url_query"),
        (f"{NAMED}?service=prod", "db_url_query"),
        (f"{NAMED}?options=-crole%3Dpostgres", "db_url_query"),
        (f"{NAMED}?sslmode=disable&sslkey=/root/k", "db_url_query"),
        ("postgresql://localhost:5432,prod.db:5433/app_preview_1", "db_url_multihost"),
        ("postgresql://localhost@prod.db/app_preview_1", "db_host_not_allowed"),
        ("postgresql://user:p@ss@localhost/app_preview_1", "db_url_invalid"),
        ("postgresql://localhost/%6froboros", "db_name_protected"),
        ("postgresql://localhost/template1", "db_name_protected"),
        ("postgresql://localhost/postgres", "db_name_protected"),
        (f"postgresql://localhost/preview_{{slot}}_{LONG}", "db_name_too_long"),
        ("postgresql://localhost/preview_{slot.__class__}", "template_invalid"),
        ("mysql://localhost/app_preview_1", "db_url_scheme"),
    ],
)
def test_a_database_url(given, reason, monkeypatch):
    """That the server itself is asked too, tests/host/postgres/test_administration.py proves."""
    assert database(given, monkeypatch) == reason


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("1BAD=x", "env_line_invalid"),
        ("A=1\0B=2", "env_file_invalid"),
        ("A=1\nA=2", "env_key_duplicate"),
        ("A=" + "x" * 2**20, "env_file_too_large"),
    ],
)
def test_an_env_file(given, code, tmp_path):
    assert env_file(given, tmp_path) == code


def test_a_value_of_an_env_file_is_never_expanded(tmp_path):
    (tmp_path / "api.env").write_text("A=$(cat /etc/shadow)")
    (tmp_path / "api.env").chmod(0o600)
    found = {"OROBOROS_ENV_DIR": str(tmp_path)}
    with effects.none():
        load_env_files(found)
    assert found["A"] == "$(cat /etc/shadow)"


@pytest.mark.parametrize(
    "given",
    [
        "LD_PRELOAD=/tmp/x.so",
        "PYTHONSTARTUP=/tmp/x.py",
        "BASH_ENV=/tmp/x",
        "DATABASE_URL=postgresql://prod/control",
    ],
)
def test_a_variable_of_an_application(given, tmp_path):
    assert application_env(given, tmp_path) == "env_key_forbidden"


def test_a_placeholder_is_no_secret(monkeypatch):
    import importlib

    from oroboros import settings

    monkeypatch.setenv("SECRET_KEY", "changeme")
    with pytest.raises(Refused) as refused:
        importlib.reload(settings)
    assert refused.value.code == "env_secret_weak"


@pytest.mark.parametrize(
    "given",
    [
        ["bash", "-c", "id"],
        ["git", "-c", "core.sshCommand=touch x", "fetch"],
        ["git", "--exec-path=/tmp", "status"],
        ["git", "fetch", "--upl=touch x", "o"],
        ["tar", "--to-command=sh", "-xf", "a"],
        ["/tmp/git", "status"],
    ],
)
def test_a_command(given, tmp_path):
    assert argv(given, tmp_path) == "command_refused"


@pytest.mark.parametrize("given", ["/ok\r\nHost: admin", "http://evil.example/", "ok", "/a b"])
def test_a_health_path(given, tmp_path):
    """How long an answer may be and last, tests/host/units/test_health.py proves."""
    assert health_path(given, tmp_path) == "manifest_invalid"


def test_a_health_path_that_looks_like_an_address_leads_to_the_slots_own_port():
    port = free_port()
    with echo(port):
        health = probe_unit(UnitStatus(True, 1, 1.0, None, "ours"), port, "/@evil.example")
    assert health.ok
    said = json.loads(health.body)
    assert said["path"] == "/@evil.example"
    assert ["host", f"127.0.0.1:{port}"] in said["headers"]
