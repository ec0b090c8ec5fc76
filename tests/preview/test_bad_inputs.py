"""Every bad input at a preview's boundaries, by where it is refused and with which code.

What each guard refuses besides, its own room's tests say; here none of the list is forgotten.
"""

import pytest
from django.core.exceptions import ImproperlyConfigured

from oroboros.errors import Refused
from oroboros.lib import environment, gitcommand, policy
from oroboros.lib.config import load, parse_env
from oroboros.lib.manifest import Manifest
from oroboros.lib.shape import SHAPE, Wrong
from slots.host import guard
from slots.host.__main__ import answer
from tests.host.test_guard import resolve

LONG = "x" * 60
NAMED = "postgresql://localhost/app_preview_1"


def slot_id(given):
    said = answer(["status", f"--slot={given}"])
    assert not said["ok"]
    return said["error"]


def database(given):
    with pytest.raises(Refused) as refusal:
        resolve(given)
    assert refusal.value.code == "unsafe_database_target"
    return refusal.value.fields[guard.SETTING]


def env_file(given):
    return code_of(parse_env, given, "x.env")


def application_env(given, tmp_path):
    (tmp_path / environment.PREVIEW_FILE).write_text(given)
    config = load({"OROBOROS_ENV_DIR": str(tmp_path), "SECRET_KEY": "k" * 40})
    built = {"home": tmp_path, "purpose": "preview-1"}
    with pytest.raises(Refused) as refusal:
        environment.build(config, {}, Manifest(), **built)
    return refusal.value.code


def git_url(given):
    config = load({"GIT_LOCAL_ROOTS": "/srv/git", "GIT_ALLOWED_HOSTS": "git.example"})
    return code_of(gitcommand.validate_remote, given, config)


def argv(given, tmp_path):
    options = {"cwd": tmp_path, "root": tmp_path, "bins": []}
    return code_of(
        policy.resolve, given, load({"WORKER_ALLOWED_COMMANDS": "bash git tar"}), **options
    )


def code_of(guarded, *given, **options):
    with pytest.raises(Refused) as refusal:
        guarded(*given, **options)
    assert refusal.value.status == 400
    return refusal.value.code


@pytest.mark.parametrize(
    "given",
    ["", "Slot-1", "preview-1/..", "-rf", "preview-1\n", "preview\0-1", "preview-1@evil.service",
     "admin"],
)  # fmt: skip
def test_a_slot_id(given):
    assert slot_id(given) == "slot_id_invalid"


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
    assert code_of(gitcommand.validate_ref, given) == code


@pytest.mark.parametrize("given", ["deadbee", "DEADBEEF" * 5, "HEAD~1"])
def test_a_commit(given):
    assert code_of(gitcommand.validate_sha, given) == "sha_invalid"


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
def test_a_remote(given, code):
    assert git_url(given) == code


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
def test_a_database_url(given, reason):
    """That the server itself is asked too, tests/host/test_database.py proves."""
    assert database(given) == reason


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("1BAD=x", "env_line_invalid"),
        ("A=1\0B=2", "env_file_invalid"),
        ("A=1\nA=2", "env_key_duplicate"),
        ("A=" + "x" * 2**20, "env_file_too_large"),
    ],
)
def test_an_env_file(given, code):
    assert env_file(given) == code


def test_a_value_of_an_env_file_is_never_expanded():
    assert parse_env("A=$(cat /etc/shadow)", "x.env") == {"A": "$(cat /etc/shadow)"}


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
    with pytest.raises(ImproperlyConfigured, match="env_secret_weak"):
        importlib.reload(settings)


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
def test_a_health_path(given):
    """Where it leads, and how long an answer may be, tests/lib/test_probe.py proves."""
    with pytest.raises(Wrong):
        SHAPE["backend"]["health_path"].read(given)
