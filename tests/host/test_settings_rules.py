"""Every process refuses a wrong setting with the same code and sentence, and no traceback."""

import json
import os
import subprocess
import sys

import pytest

from host import config
from host.errors import Refused
from host.settings_rules import require_secrets

SECRET = "x" * 50
DATABASE = "postgresql://x:y@127.0.0.1:1/x"


def get_detail(values):
    with pytest.raises(Refused) as refused:
        config.load(values)
    assert refused.value.code == "setting_invalid"
    return refused.value.detail


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("OROBOROS_SLOTS", ["0", "-1", "65", "100", "abc", "1.5", "٣", " 2", "1" * 5000]),
        ("OROBOROS_PORT_OFFSET", ["-1", "50001", "99999", "abc", "0x10"]),
        ("OROBOROS_UID_BASE", ["0", "999", "99999999999", "abc"]),
        ("STEP_TIMEOUT_SECONDS", ["0", "-5", "1h", "1e3"]),
        ("PREVIEW_TTL_SECONDS", ["0", "4 h", "99999999999"]),
        ("OROBOROS_QUEUE_LIMIT", ["0", "many"]),
        ("ADMISSION_FREE_MEMORY_MB", ["-1", "256MB"]),
        ("ADMISSION_FREE_DISK_MB", ["1.5", "1G"]),
        ("OROBOROS_HTTPS", ["maybe", "2"]),
        ("DEBUG", ["tru"]),
        ("TIME_ZONE", ["Europe/Nowhere", "../etc/passwd", "Europe", "\0"]),
        ("OROBOROS_DOMAIN", ["a b", "example.com\n{", "{$PATH}", "-x", "https://example.com"]),
        ("OROBOROS_HOST", ["a b", "x/y"]),
        ("CORS_APP_ORIGINS", ["example.com", "https://example.com/path"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(name, values):
    for value in values:
        assert name in get_detail({name: value})


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "hunter2", "postgresql://h:port/d"])
def test_a_wrong_database_url_is_refused_without_its_password(url):
    detail = get_detail({"DATABASE_URL": url})
    assert "DATABASE_URL" in detail
    assert "hunter2" not in detail


def test_all_wrong_values_are_refused_at_once():
    detail = get_detail({"OROBOROS_SLOTS": "65", "DEBUG": "perhaps"})
    assert "OROBOROS_SLOTS must be a whole number from 1 to 64, not '65'." in detail
    assert "DEBUG must be true or false" in detail


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"DATABASE_URL": DATABASE}, "not_set_up"),
        ({"SECRET_KEY": SECRET}, "not_set_up"),
        ({"SECRET_KEY": "changeme" * 9, "DATABASE_URL": DATABASE}, "env_secret_weak"),
        ({"SECRET_KEY": "short", "DATABASE_URL": DATABASE}, "env_secret_weak"),
    ],
)
def test_the_control_plane_needs_its_secrets(values, code):
    with pytest.raises(Refused) as refused:
        require_secrets(values)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("arguments", "values", "prints_json"),
    [
        (["manage.py", "check"], {"OROBOROS_SLOTS": "65"}, False),
        (["manage.py", "run_worker"], {"PREVIEW_TTL_SECONDS": "soon"}, False),
        (["manage.py", "check"], {"SECRET_KEY": ""}, False),
        (["manage.py", "releases", "list"], {"DEBUG": "2", "OROBOROS_ONLY": "releases"}, True),
        (["-m", "gunicorn", "-c", "infra/gunicorn.conf.py"], {"OROBOROS_SLOTS": "65"}, False),
        (["-m", "gunicorn", "-c", "infra/gunicorn.conf.py"], {"SECRET_KEY": "weak"}, False),
        (["-m", "ops", "up"], {"OROBOROS_PORT_OFFSET": "99999"}, True),
        (["-m", "ops", "preflight"], {"OROBOROS_PORT_OFFSET": "99999"}, False),
        (["-m", "slots.runtime", "status", "--slot", "preview-1"], {"OROBOROS_SLOTS": "0"}, True),
        (["-m", "releases", "r-1", "--reason", "x"], {"OROBOROS_SLOTS": "x"}, True),
    ],
)
def test_every_process_refuses_a_wrong_setting_without_a_traceback(arguments, values, prints_json):
    env = {**os.environ, "SECRET_KEY": SECRET, "DATABASE_URL": DATABASE, **values}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=config.HOME, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert next(iter(values)) in done.stderr
    if prints_json:
        answer = json.loads(done.stdout)
        assert (answer["ok"], answer["error"]) == (False, "setting_invalid")
        assert answer["detail"] in done.stderr


def test_a_program_in_a_folder_with_a_blank_is_found(tmp_path):
    folder = tmp_path / "my programs"
    folder.mkdir()
    (folder / "python").symlink_to(os.path.realpath(sys.executable))
    env = {"PATH": os.environ["PATH"], "OROBOROS_PYTHON": str(folder / "python")}
    env["OROBOROS_UID_BASE"] = "many"  # refused later, with all other settings
    found = subprocess.run(
        ["scripts/python.sh"], cwd=config.HOME, env=env, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == os.path.realpath(sys.executable)


def test_a_refusal_names_the_env_file_that_has_the_wrong_value(tmp_path):
    (tmp_path / "worker.env").write_text("PREVIEW_TTL_SECONDS=4h\n")
    (tmp_path / "worker.env").chmod(0o600)
    environ = {"OROBOROS_ENV_DIR": str(tmp_path), "PREVIEW_TTL_SECONDS": "4h"}
    with pytest.raises(Refused) as refused:
        config.load(environ)
    path = tmp_path / "worker.env"
    assert refused.value.detail == (
        "PREVIEW_TTL_SECONDS must be a whole number from 1 to 31622400, not '4h'. "
        f"Correct it in {path}, then ./scripts/apply-settings.sh"
    )
    with pytest.raises(Refused) as refused:  # the shell's own value
        config.load({**environ, "PREVIEW_TTL_SECONDS": "5h"})
    assert str(path) not in refused.value.detail
