"""manifest.py, with the rooms it reads by: commandline, shape, habits, tree."""

import json
import os
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from host.app import command_line, manifest, manifest_schema
from host.app.manifest import Check
from host.errors import Refused

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def tree(tmp_path):
    """Write files into a tree and load its manifest."""

    def load(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return manifest.load(tmp_path)

    return load


def refusal(load, files):
    with pytest.raises(Refused) as caught:
        load(files)
    assert (caught.value.code, caught.value.status) == ("manifest_invalid", 400)
    return caught.value


# command lines


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("gunicorn a.wsgi --bind 0.0.0.0:$PORT", ("gunicorn", "a.wsgi", "--bind", "0.0.0.0:$PORT")),
        ("exec python 'two words' \"a|b\"", ("python", "two words", "a|b")),
        ("python -c\\ x", ("python", "-c x")),
        ("uvicorn app:app --port ${PORT:-8000}", ("uvicorn", "app:app", "--port", "${PORT:-8000}")),
        ("echo 'a;b' '$(c)'", ("echo", "a;b", "$(c)")),
    ],
)
def test_a_command_line_is_split_without_a_shell(line, argv):
    assert command_line.parse(line) == argv


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("python manage.py migrate && python manage.py seed", "./bin/release"),
        ("a | b", "./bin/release"),
        ("a; b", "./bin/release"),
        ("a > b", "./bin/release"),
        ("a `b`", "./bin/release"),
        ('a "$(b)"', "./bin/release"),
        ('a "`b`"', "./bin/release"),
        ("a $(b)", "./bin/release"),
        ("(a)", "./bin/release"),
        ("a &", "./bin/release"),
        ("DEBUG=1 python x.py", "[env]"),
        ("cd app", "directory"),
        ("python 'x", "quotation"),
        ("", "no command"),
        ("exec", "no command"),
        ("'a b' c", "own string"),
    ],
)
def test_what_needs_a_shell_is_refused_with_what_to_write(line, hint):
    with pytest.raises(command_line.NotArgv, match=re.escape(hint)):
        command_line.parse(line)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$PORT", "8101"),
        ("0.0.0.0:${PORT}", "0.0.0.0:8101"),
        ("${PORT:-1}", "8101"),
        ("${NONE:-1}", "1"),
        ("${NONE-1}", "1"),
        ("[$NONE]", "[]"),
        ("$5 $ ${} ${5}", "$5 $ ${} ${5}"),
        ("${INJECT}", "$PORT; rm"),
    ],
)
def test_variables_are_filled_in_once(text, filled):
    assert command_line.substitute(text, {"PORT": "8101", "INJECT": "$PORT; rm"}) == filled


# the files


def test_a_procfile_says_how_to_start_and_migrate(tree):
    found = tree({"Procfile": "# ours\nweb: gunicorn a\n\nrelease: python m.py\nworker: w\n"})
    assert found.web == ("gunicorn", "a")
    assert found.release == ("python", "m.py")
    assert found.files == ("Procfile",)
    assert found.health_path == "/health"
    assert found.frontend_output is None
    assert found.notes == ("Procfile line 5: the process 'worker' is not started here.",)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("web gunicorn\n", "1", ""),
        ("\nweb: a\nweb: b\n", "3", "web"),
        ("web: a\nrelease: b && c\n", "2", "release"),
        ("web:\n", "1", ""),
    ],
)
def test_a_mistake_in_a_procfile_names_its_line(tree, text, line, key):
    refused = refusal(tree, {"Procfile": text})
    assert refused.fields == {"file": "Procfile", "line": line, "key": key}
    assert refused.detail.startswith(f"Procfile line {line}")


def test_app_json_gives_a_seed_and_defaults(tree):
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
    found = tree({"Procfile": "web: a\n", "app.json": json.dumps(app)})
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
def test_a_mistake_in_app_json_names_line_and_key(tree, text, line, key):
    refused = refusal(tree, {"Procfile": "web: a\n", "app.json": text})
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

[checks]
tests = { run = "python -m pytest -q", timeout = 30, directory = "backend" }
lint = ["ruff", "check", "."]

[env]
DB_NAME = "${PGDATABASE}"
"""


def test_oroboros_toml_says_what_the_others_cannot(tree):
    found = tree({"Procfile": "web: other\n", "oroboros.toml": WHOLE})
    assert found == manifest.Manifest(
        web=("gunicorn", "site.wsgi"),
        release=("python", "manage.py", "migrate"),
        seed=("python", "manage.py", "loaddata", "demo"),
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
    assert found.public == "frontend/dist"


WRONG = [
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
    ('[checks]\n"a b" = "x"\n', 2, "checks.a b"),
    ('[checks]\na = "x"\nb = { timeout = 3 }\n', 3, "checks.b"),
    ('[checks]\nb = { run = "x", timeout = 0 }\n', 2, "checks.b"),
    ('[checks]\nb = { run = "x", timeout = true }\n', 2, "checks.b"),
    ('[checks]\nb = { run = "x", timeout = "3" }\n', 2, "checks.b"),
    ('[checks]\nb = { run = "x", shell = true }\n', 2, "checks.b"),
    ('[checks.b]\nrun = "x"\ndirectory = "/etc"\n', 1, "checks.b"),
    ("[env]\nA = 1\n", 2, "env.A"),
    ('[env]\n"A-B" = "x"\n', 2, "env.A-B"),
]


@pytest.mark.parametrize(("text", "line", "key"), WRONG)
def test_a_mistake_in_oroboros_toml_names_line_and_key(tree, text, line, key):
    refused = refusal(tree, {"Procfile": "web: a\n", "oroboros.toml": text})
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
    ],
)
def test_what_no_schema_can_say_is_refused_by_line_and_key_too(tree, text, line, key):
    refused = refusal(tree, {"Procfile": "web: a\n", "oroboros.toml": text})
    assert refused.fields == {"file": "oroboros.toml", "line": line, "key": key}
    assert refused.detail.isprintable()


def test_a_shell_line_is_refused_though_the_schema_takes_any_string(tree):
    text = '[checks]\nall = "a && b"\n'
    refused = refusal(tree, {"Procfile": "web: a\n", "oroboros.toml": text})
    assert refused.fields["key"] == "checks.all"


CODE = [
    ("Procfile", "web: a\nrelease: bash -c id\n", "2", "release"),
    ("app.json", '{\n "scripts": {"postdeploy": "perl -e 1"}\n}', "2", "scripts.postdeploy"),
    ("oroboros.toml", '[backend]\n\nweb = ["bash", "-c", "x"]\n', "3", "backend.web"),
    ("oroboros.toml", '[backend]\ninstall = [["a"], ["sh", "-c", "x"]]\n', "2", "backend.install"),
    ("oroboros.toml", '[checks]\nb = { run = "node -e 1" }\n', "2", "checks.b"),
]


@pytest.mark.parametrize(("name", "text", "line", "key"), CODE)
def test_code_on_a_command_line_is_refused_by_line_and_key(tree, name, text, line, key):
    with pytest.raises(Refused) as caught:
        tree({"Procfile": "web: a\n", name: text})
    assert (caught.value.code, caught.value.status) == ("command_refused", 400)
    assert caught.value.fields == {"file": name, "line": line, "key": key}
    assert caught.value.detail.startswith(f"{name} line {line}, {key}: ")


@pytest.mark.parametrize("name", ["PYTHONPATH", "PORT", "LD_PRELOAD", "PATH", "GIT_DIR"])
def test_a_variable_that_is_not_the_applications_is_refused_by_line_and_key(tree, name):
    text = f'[env]\nDATABASE_URL = "x"\n{name} = "x"\n'
    refused = refusal(tree, {"Procfile": "web: a\n", "oroboros.toml": text})
    assert refused.fields == {"file": "oroboros.toml", "line": "3", "key": f"env.{name}"}


def test_an_unknown_key_is_answered_with_the_nearest(tree):
    text = '[frontend]\noutptu = "dist"\n'
    assert "did you mean output?" in refusal(tree, {"oroboros.toml": text}).detail


def test_a_build_without_an_output_is_refused(tree):
    refused = refusal(tree, {"Procfile": "web: a", "oroboros.toml": '[frontend]\nbuild = "make"\n'})
    assert refused.fields == {"file": "oroboros.toml", "line": "1", "key": "frontend.output"}


def test_a_tree_that_says_nothing_is_told_what_to_write(tree):
    refused = refusal(tree, {"README": "x"})
    assert refused.fields == {"file": "Procfile", "line": "1", "key": "web"}
    assert "oroboros.toml" in refused.detail


# the schema


def test_the_published_schema_is_the_one_of_the_code():
    """If not: python -m host.app.manifest_schema > docs/oroboros.schema.json."""
    assert json.loads((DOCS / "oroboros.schema.json").read_text()) == manifest_schema.schema()


def test_the_reference_names_every_key():
    text = (DOCS / "reference" / "manifest.md").read_text()
    for table, keys in manifest_schema.SHAPE.items():
        assert f"[{table}]" in text
        for key in keys:
            assert f"`{key}`" in text


VALIDATOR = jsonschema.Draft202012Validator(manifest_schema.schema())


@pytest.mark.parametrize("text", [WHOLE, ""])
def test_the_schema_takes_what_the_code_takes(text):
    assert VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize("text", [text for text, _, _ in WRONG[1:]])
def test_the_schema_refuses_what_the_code_refuses(text):
    assert not VALIDATOR.is_valid(tomllib.loads(text))


# habits


def test_a_django_project_starts_by_gunicorn_where_it_is_required(tree):
    files = {
        "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")',
        "site/wsgi.py": "",
        "requirements.txt": "django\ngunicorn==23\n",
    }
    found = tree(files)
    assert found.web == ("gunicorn", "site.wsgi", "--bind", "127.0.0.1:$PORT")
    assert found.release == ("python", "manage.py", "migrate", "--noinput")
    assert found.health_path == "/"
    assert found.frontend_output is None


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"main.py": "app = FastAPI()", "requirements.txt": "fastapi[standard]"}, "fastapi"),
        ({"main.py": "app = FastAPI()", "uv.lock": 'name = "fastapi-cli"'}, "fastapi"),
        ({"app.py": "app = Flask(__name__)", "requirements.txt": "Flask==3.1"}, "flask"),
    ],
)
def test_a_fastapi_or_flask_application_starts_by_its_own_command(tree, files, command):
    found = tree(files)
    assert found.web == (command, "run", "--host", "127.0.0.1", "--port", "$PORT")
    assert found.health_path == "/"


@pytest.mark.parametrize(
    "files",
    [
        {"main.py": "app = FastAPI()", "requirements.txt": "fastapi\nuvicorn"},
        {"app.py": "print()", "requirements.txt": "flask"},
    ],
)
def test_an_application_that_no_command_would_find_must_say_how_it_starts(tree, files):
    with pytest.raises(Refused, match="what to run"):
        tree(files)


def test_a_django_project_starts_by_runserver_otherwise(tree):
    found = tree({"backend/manage.py": "DJANGO_SETTINGS_MODULE", "backend/requirements.txt": "d"})
    assert found.web[:3] == ("python", "manage.py", "runserver")
    assert found.backend_dir == "backend"


def test_what_is_said_wins_over_habits(tree):
    toml = '[backend]\nhealth_path = "/up"\nrelease = "python m.py"\n'
    found = tree({"manage.py": "DJANGO_SETTINGS_MODULE", "oroboros.toml": toml})
    assert found.web[0] == "python"
    assert (found.health_path, found.release) == ("/up", ("python", "m.py"))


def package(**parts):
    return json.dumps({"name": "x", **parts})


def test_a_vite_frontend_is_built_into_dist(tree):
    text = package(scripts={"build": "vite build"}, devDependencies={"vite": "^7"})
    found = tree({"package.json": text})
    assert (found.frontend_build, found.public) == ((("npm", "run", "build"),), "dist")
    assert found.web is None


def test_a_backend_with_a_vite_frontend_beside_it_is_a_pair(tree):
    text = package(scripts={"build": "vite build"}, devDependencies={"vite": "^7"})
    found = tree({"Procfile": "web: python app.py\n", "frontend/package.json": text})
    assert found.public == "frontend/dist"
    assert found.web == ("python", "app.py")


def test_a_node_server_is_built_and_started_by_its_scripts(tree):
    text = package(scripts={"build": "next build", "start": "next start"}, dependencies={"next": 1})
    found = tree({"package.json": text})
    assert (found.web, found.backend_build) == (("npm", "start"), (("npm", "run", "build"),))
    assert found.frontend_output is None


def test_a_static_page_is_served_as_it_is(tree):
    found = tree({"index.html": "<h1>hi</h1>"})
    assert (found.public, found.frontend_build, found.web) == (".", (), None)


def test_a_servers_own_index_page_is_not_taken_for_a_static_site(tree):
    assert tree({"Procfile": "web: a\n", "index.html": "x"}).frontend_output is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"scripts": 1, "dependencies": []}',
        '{"a":' * 100_000,
        '{"a": ' + "1" * 5000 + "}",
    ],
)
def test_a_broken_package_json_says_nothing(tree, text):
    assert tree({"Procfile": "web: a\n", "package.json": text}).frontend_output is None


# somebody else's tree


def test_a_link_out_of_the_tree_is_not_read(tree, tmp_path):
    secret = tmp_path.parent / "secret"
    secret.write_text("web: stolen\n")
    (tmp_path / "Procfile").symlink_to(secret)
    assert "stolen" not in refusal(tree, {}).detail


def test_a_folder_that_is_a_link_is_not_entered(tree, tmp_path):
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    (outside / "package.json").write_text(package(scripts={"start": "x"}))
    (tmp_path / "backend").symlink_to(outside)
    refusal(tree, {})


def test_a_fifo_is_not_waited_for(tree, tmp_path):
    os.mkfifo(tmp_path / "app.json")
    assert tree({"Procfile": "web: a\n"}).files == ("Procfile",)


def test_a_file_that_is_no_text_or_too_large_is_refused(tree, tmp_path):
    (tmp_path / "Procfile").write_bytes(b"web: \xff")
    assert "UTF-8" in refusal(tree, {}).detail
    with (tmp_path / "Procfile").open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    assert "4 MiB" in refusal(tree, {}).detail
