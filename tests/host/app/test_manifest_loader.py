"""Reading Procfile, app.json and oroboros.toml: what they say, and how mistakes are reported."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host.app import manifest, manifest_loader
from host.app.manifest import Check
from host.errors import Refused

ROOT = Path(__file__).resolve().parents[3]


def refusal(load, files):
    with pytest.raises(Refused) as caught:
        load(files)
    assert (caught.value.code, caught.value.status) == ("manifest_invalid", 400)
    return caught.value


def test_a_procfile_gives_web_and_release(load_files):
    found = load_files({"Procfile": "# ours\nweb: gunicorn a\n\nrelease: python m.py\nworker: w\n"})
    assert found.web == ("gunicorn", "a")
    assert found.release == ("python", "m.py")
    assert found.files == ("Procfile",)
    assert found.health_path == "/health"
    assert found.frontend_output is None
    assert [process.type for process in found.processes] == ["worker"]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("web gunicorn\n", "1", ""),
        ("\nweb: a\nweb: b\n", "3", "web"),
        ("web: a\nrelease: b && c\n", "2", "release"),
        ("web:\n", "1", ""),
    ],
)
def test_a_mistake_in_a_procfile_is_refused_with_its_line(load_files, text, line, key):
    refused = refusal(load_files, {"Procfile": text})
    assert refused.fields == {"file": "Procfile", "line": line, "key": key}
    assert refused.detail.startswith(f"Procfile line {line}")


def test_app_json_gives_a_seed_and_defaults(load_files):
    app = {
        "name": "x",
        "scripts": {"postdeploy": "python seed.py", "test": "x && y"},
        "env": {
            "COLOUR": "blue",
            "SIZE": {"value": "3", "description": "d"},
            "SESSION": {"generator": "secret"},
            "API": {"description": "needed"},
            "MAYBE": {"required": False},
        },
    }
    found = load_files({"Procfile": "web: a\n", "app.json": json.dumps(app)})
    assert found.seed == ("python", "seed.py")
    assert found.env_defaults == {"COLOUR": "blue", "SIZE": "3"}
    assert found.env_generated == ("SESSION",)
    assert found.env_required == ("API",)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("{\n  oops\n}", "2", ""),
        ("[]", "1", ""),
        ('{"env": []}', "1", "env"),
        ('{\n "env": {\n  "A": {"value": "x"},\n  "B": true\n }\n}', "4", "env.B"),
        ('{\n "env": {\n  "A B": "x"\n }\n}', "3", "env.A B"),
        ('{\n "scripts": {"postdeploy": "a && b"}\n}', "2", "scripts.postdeploy"),
        ("[" * 100_000, "1", ""),
        ('{\n "logo": ' + "1" * 5000 + "\n}", "2", ""),
        ('{\n "env": {\n  "A": "\\ud800"\n }\n}', "3", "env.A"),
        ('{\n "env": {\n  "A": {"value": "x\\udfff"}\n }\n}', "3", "env.A"),
        ('{\n "env": {\n  "\\ud800": "x"\n }\n}', "2", "env.\\ud800"),
        ('{\n "env": {\n  "A\\u0000": "x"\n }\n}', "2", "env.A\\x00"),
        ('{\n "env": {\n  "A\\n": "x"\n }\n}', "2", "env.A\\n"),
        ('{\n "scripts": {"postdeploy": "a \\ud800"}\n}', "2", "scripts.postdeploy"),
        ('{\n "scripts": {"postdeploy": ["a", "\\ud800"]}\n}', "2", "scripts.postdeploy"),
    ],
)
def test_a_mistake_in_app_json_is_refused_with_line_and_key(load_files, text, line, key):
    refused = refusal(load_files, {"Procfile": "web: a\n", "app.json": text})
    assert refused.fields == {"file": "app.json", "line": line, "key": key}


WHOLE = """
[frontend]
directory = "frontend"
install = "npm ci"
build = [["npm", "run", "types"], ["npm", "run", "build"]]
output = "dist"

[backend]
directory = "backend"
install = ["uv", "pip", "install", "-r", "requirements/dev.txt"]
build = "python manage.py collectstatic --noinput"
web = "gunicorn site.wsgi"
release = "python manage.py migrate"
health_path = "/api/health?full=1"

[database]
seed = "python manage.py loaddata demo"
extensions = ["citext", "uuid-ossp"]

[checks]
tests = { run = "python -m pytest -q", timeout = 30, directory = "backend" }
lint = ["ruff", "check", "."]

[env]
DB_NAME = "${PGDATABASE}"
"""


def test_oroboros_toml_sets_every_field(load_files):
    found = load_files({"Procfile": "web: other\n", "oroboros.toml": WHOLE})
    assert found == manifest.Manifest(
        web=("gunicorn", "site.wsgi"),
        release=("python", "manage.py", "migrate"),
        seed=("python", "manage.py", "loaddata", "demo"),
        extensions=("citext", "uuid-ossp"),
        backend_dir="backend",
        backend_install=(("uv", "pip", "install", "-r", "requirements/dev.txt"),),
        backend_build=(("python", "manage.py", "collectstatic", "--noinput"),),
        health_path="/api/health?full=1",
        frontend_dir="frontend",
        frontend_install=(("npm", "ci"),),
        frontend_build=(("npm", "run", "types"), ("npm", "run", "build")),
        frontend_output="dist",
        checks=(
            Check("tests", ("python", "-m", "pytest", "-q"), 30.0, "backend"),
            Check("lint", ("ruff", "check", ".")),
        ),
        env={"DB_NAME": "${PGDATABASE}"},
        files=("Procfile", "oroboros.toml"),
    )
    assert found.public_dir == "frontend/dist"


MISTAKES = [
    ("[frontend\n", 1, ""),
    ('[backend]\nweb = "a"\n\n[fronted]\nx = 1\n', 4, "fronted"),
    ('[frontend]\noutput = "dist"\nbuidl = "x"\n', 3, "frontend.buidl"),
    ("backend = 1\n", 1, "backend"),
    ('[frontend]\noutput = "../out"\n', 2, "frontend.output"),
    ('[frontend]\noutput = "/etc"\n', 2, "frontend.output"),
    ('[frontend]\noutput = "a/../../b"\n', 2, "frontend.output"),
    ('[backend]\ndirectory = ""\n', 2, "backend.directory"),
    ("[backend]\nweb = 1\n", 2, "backend.web"),
    ("[backend]\nweb = []\n", 2, "backend.web"),
    ('[backend]\nweb = ["a", 1]\n', 2, "backend.web"),
    ('[backend]\nhealth_path = "health"\n', 2, "backend.health_path"),
    ('[backend]\nhealth_path = "/ok\\r\\nHost: admin"\n', 2, "backend.health_path"),
    ('[backend]\nhealth_path = "/a b"\n', 2, "backend.health_path"),
    ("[database]\nseed = true\n", 2, "database.seed"),
    ('[database]\nextensions = "citext"\n', 2, "database.extensions"),
    ("[database]\nextensions = ['citext; DROP']\n", 2, "database.extensions"),
    ('[checks]\n"a b" = "x"\n', 2, "checks.a b"),
    ('[checks]\na = "x"\nb = { timeout = 3 }\n', 3, "checks.b"),
    ('[checks]\nb = { run = "x", timeout = 0 }\n', 2, "checks.b"),
    ("[backend]\nstop_timeout = 301\n", 2, "backend.stop_timeout"),
    ('[frontend]\nspa = "yes"\n', 2, "frontend.spa"),
    ('[checks]\nb = { run = "x", timeout = true }\n', 2, "checks.b"),
    ('[checks]\nb = { run = "x", timeout = "3" }\n', 2, "checks.b"),
    ('[checks]\nb = { run = "x", shell = true }\n', 2, "checks.b"),
    ('[checks.b]\nrun = "x"\ndirectory = "/etc"\n', 1, "checks.b"),
    ("[env]\nA = 1\n", 2, "env.A"),
    ('[env]\n"A-B" = "x"\n', 2, "env.A-B"),
    ('[storage]\nmedia = "../media"\n', 2, "storage.media"),
    ('[storage]\nmedia = "/srv/media"\n', 2, "storage.media"),
    ("[storage]\nmedia = true\n", 2, "storage.media"),
    ('[storage]\nMedia = "media"\n', 2, "storage.Media"),
    ('storage = "media"\n', 1, "storage"),
    ('[services]\nredis = "yes"\n', 2, "services.redis"),
    ("[services]\nmongodb = true\n", 2, "services.mongodb"),
]


@pytest.mark.parametrize(("text", "line", "key"), MISTAKES)
def test_a_mistake_in_oroboros_toml_is_refused_with_line_and_key(load_files, text, line, key):
    refused = refusal(load_files, {"Procfile": "web: a\n", "oroboros.toml": text})
    assert refused.fields == {"file": "oroboros.toml", "line": str(line), "key": key}


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("a = 1\n[checks]\nx = " + "1" * 5000, "3", ""),
        ("[env]\nA." + "a." * 2000 + "b = 1", "2", "env.A"),
        ('[checks]\n"x\\n" = "true"', "1", "checks.x\\n"),
        ('[checks]\nx = { "\\u0000" = 1 }', "2", "checks.x"),
        ('[env]\n"A\\n" = "x"', "1", "env.A\\n"),
        ('[backend]\ndirectory = "app\\n"', "2", "backend.directory"),
        ('[frontend]\noutput = "..\\n"', "2", "frontend.output"),
        ('[storage]\nmedia = "."', "2", "storage.media"),
        ('[storage]\nmedia = "a"\nothers = "a/b"', "3", "storage.others"),
        ('[storage]\nmedia = "a"\nothers = "./a"', "2", "storage.media"),
        ('[storage]\nmedia = "dist/media"\n[frontend]\noutput = "dist"', "2", "storage.media"),
        ('[storage]\nmedia = "dist"\n[frontend]\noutput = "dist/a"', "2", "storage.media"),
    ],
)
def test_a_mistake_that_the_schema_cannot_find_is_refused_with_line_and_key(
    load_files, text, line, key
):
    refused = refusal(load_files, {"Procfile": "web: a\n", "oroboros.toml": text})
    assert refused.fields == {"file": "oroboros.toml", "line": line, "key": key}
    assert refused.detail.isprintable()


def test_a_check_that_needs_a_shell_is_refused(load_files):
    text = '[checks]\nall = "a && b"\n'
    refused = refusal(load_files, {"Procfile": "web: a\n", "oroboros.toml": text})
    assert refused.fields["key"] == "checks.all"


CODE = [
    ("Procfile", "web: a\nrelease: bash -c id\n", "2", "release"),
    ("app.json", '{\n "scripts": {"postdeploy": "perl -e 1"}\n}', "2", "scripts.postdeploy"),
    ("oroboros.toml", '[backend]\n\nweb = ["bash", "-c", "x"]\n', "3", "backend.web"),
    ("oroboros.toml", '[backend]\ninstall = [["a"], ["sh", "-c", "x"]]\n', "2", "backend.install"),
    ("oroboros.toml", '[checks]\nb = { run = "node -e 1" }\n', "2", "checks.b"),
]


@pytest.mark.parametrize(("name", "text", "line", "key"), CODE)
def test_code_on_a_command_line_is_refused_with_line_and_key(load_files, name, text, line, key):
    with pytest.raises(Refused) as caught:
        load_files({"Procfile": "web: a\n", name: text})
    assert (caught.value.code, caught.value.status) == ("command_refused", 400)
    assert caught.value.fields == {"file": name, "line": line, "key": key}
    assert caught.value.detail.startswith(f"{name} line {line}, {key}: ")


@pytest.mark.parametrize("name", ["PYTHONPATH", "PORT", "LD_PRELOAD", "PATH", "GIT_DIR"])
def test_a_reserved_variable_is_refused_with_line_and_key(load_files, name):
    text = f'[env]\nDATABASE_URL = "x"\n{name} = "x"\n'
    refused = refusal(load_files, {"Procfile": "web: a\n", "oroboros.toml": text})
    assert refused.fields == {"file": "oroboros.toml", "line": "3", "key": f"env.{name}"}


def test_variables_before_a_command_are_refused_with_a_way_that_works(load_files):
    """The remedy for a name that [env] may not set does not name [env], and the other way round."""
    refused = refusal(load_files, {"Procfile": "web: PYTHONPATH=src python server.py\n"})
    assert "[env] may not set PYTHONPATH" in refused.detail
    assert "./bin/web with `#!/bin/sh` and `PYTHONPATH=" in refused.detail
    refused = refusal(load_files, {"oroboros.toml": '[env]\nPYTHONPATH = "src"\n'})
    assert "./bin/web with `#!/bin/sh` and `PYTHONPATH=" in refused.detail


@pytest.mark.parametrize("name", ["Procfile", "app.json", "oroboros.toml"])
def test_a_byte_order_mark_is_ignored(load_files, name):
    files = {
        "Procfile": "web: python server.py\r\n",
        "app.json": '{"env": {"A": "b"}}',
        "oroboros.toml": '[backend]\r\nhealth_path = "/up"\r\n',
    }
    found = load_files(files | {name: "\ufeff" + files[name]})
    assert (found.web, found.env_defaults) == (("python", "server.py"), {"A": "b"})
    assert found.health_path == "/up"
    assert manifest_loader.read_checks('\ufeff[checks]\na = "true"\n')[0].argv == ("true",)


def test_an_unknown_key_is_refused_with_the_nearest_key(load_files):
    text = '[frontend]\noutptu = "dist"\n'
    assert "did you mean output?" in refusal(load_files, {"oroboros.toml": text}).detail


def test_a_build_without_an_output_is_refused(load_files):
    refused = refusal(
        load_files, {"Procfile": "web: a", "oroboros.toml": '[frontend]\nbuild = "make"\n'}
    )
    assert refused.fields == {"file": "oroboros.toml", "line": "1", "key": "frontend.output"}


def test_a_tree_without_anything_to_run_is_refused_with_a_hint(load_files):
    refused = refusal(load_files, {"README": "x"})
    assert refused.fields == {"file": "Procfile", "line": "1", "key": "web"}
    assert "oroboros.toml" in refused.detail


def package(**parts):
    return json.dumps({"name": "x", **parts})


def test_a_link_out_of_the_tree_is_not_read(load_files, tmp_path):
    secret = tmp_path.parent / "secret"
    secret.write_text("web: stolen\n")
    (tmp_path / "Procfile").symlink_to(secret)
    assert "stolen" not in refusal(load_files, {}).detail


def test_a_linked_folder_is_not_read(load_files, tmp_path):
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    (outside / "package.json").write_text(package(scripts={"start": "x"}))
    (tmp_path / "backend").symlink_to(outside)
    refusal(load_files, {})


def test_a_fifo_is_ignored(load_files, tmp_path):
    os.mkfifo(tmp_path / "app.json")
    assert load_files({"Procfile": "web: a\n"}).files == ("Procfile",)


def test_a_binary_or_too_large_file_is_refused(load_files, tmp_path):
    (tmp_path / "Procfile").write_bytes(b"web: \xff")
    assert "UTF-8" in refusal(load_files, {}).detail
    with (tmp_path / "Procfile").open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    assert "4 MiB" in refusal(load_files, {}).detail


def test_of_several_mistakes_the_first_in_the_file_is_reported(load_files):
    text = '[env]\nPATH = "x"\n[backend]\nhealth_path = "x"\nweb = ["sh", "-c", "x"]\n'
    assert refusal(load_files, {"oroboros.toml": text}).fields["key"] == "env.PATH"


def test_a_mistake_within_a_check_names_its_part(load_files):
    text = '[checks]\nslow = { run = "make", timeout = 3601 }\n'
    detail = refusal(load_files, {"oroboros.toml": text}).detail
    assert detail.endswith("checks.slow: timeout: give a number of seconds from 1 to 3600.")


def test_a_file_full_of_mistakes_is_refused_quickly(load_files):
    text = "[env]\n" + "\n".join(f"A{number} = 1" for number in range(5000))
    started = time.monotonic()
    assert refusal(load_files, {"oroboros.toml": text}).fields["line"] == "2"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "module", ["slots.runtime.__main__", "releases.__main__", "ops.__main__", "ops.stack"]
)
def test_a_program_that_must_start_quickly_does_not_import_pydantic(module):
    code = f"import {module}, sys; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_keys_of_app_json_that_change_what_heroku_runs_are_noted(load_files):
    data = {"name": "x", "buildpacks": [{"url": "heroku/python"}], "formation": {}, "addons": ["a"]}
    found = load_files({"index.html": "", "app.json": json.dumps(data)})
    assert found.notes == (
        "app.json: buildpacks is not honored here.",
        "app.json: the add-on a is not provided here.",
    )


@pytest.mark.parametrize(
    ("addons", "toml", "redis"),
    [
        (["heroku-redis:mini", "heroku-postgresql"], "", True),
        ([{"plan": "heroku-redis", "as": "CACHE"}], "", True),
        (["heroku-redis"], "[services]\nredis = false\n", False),
        ([], "[services]\nredis = true\n", True),
        (["papertrail:choklad"], "", False),
    ],
)
def test_the_add_ons_and_services_say_whether_there_is_redis(load_files, addons, toml, redis):
    app = json.dumps({"addons": addons})
    found = load_files({"Procfile": "web: a\n", "app.json": app, "oroboros.toml": toml})
    assert found.redis == redis
    unknown = ["app.json: the add-on papertrail is not provided here."]
    assert list(found.notes) == (unknown if "papertrail:choklad" in addons else [])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_an_editor_on_windows_are_read_as_any_other(load_files, end):
    texts = {
        "Procfile": "web: python server.py\nrelease: python migrate.py\n",
        "oroboros.toml": '[backend]\nhealth_path = "/live"\n[checks]\nquick = "true"\n',
        "app.json": '{"env": {"A": {"value": "1"}}}\n',
    }
    marked = {name: "\ufeff" + text.replace("\n", end) for name, text in texts.items()}
    assert load_files(marked) == load_files(texts)
    assert load_files(marked).health_path == "/live"


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_comment_ends_at_a_line_feed_only(load_files, end):
    found = load_files({"Procfile": f"# was:{end}worker: python evil.py\r\nweb: python a.py\n"})
    assert (found.web, found.processes) == (("python", "a.py"), ())
