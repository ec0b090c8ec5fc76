"""Applications of other frameworks' starters, with a small manifest of ours."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import requests

from tests.runs.pipelines.preview.starters import run_starter

DJANGO = "django>=5.2,<5.3\npsycopg[binary]\n"
# The database is the environment's: libpq reads where it is and who we are.
MAPPING = """\
[env]
DJANGO_SETTINGS_MODULE = "mysite.production"
DB_NAME = "${PGDATABASE}"
"""
POSTGRESQL = """\
import os

from .settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["DB_NAME"],
    }
}
"""
# What `startproject` makes knows SQLite alone. This one is configured by its environment only, and
# comes as a wheel; the manifest maps the database and nothing else of it is ours.
PRETALX_REQUIREMENTS = "pretalx==2025.2.2\npsycopg[binary]\ngunicorn\n"
PRETALX = """\
[backend]
build = "python -m pretalx collectstatic --noinput"
release = "python -m pretalx migrate --noinput"
web = ["gunicorn", "pretalx.wsgi", "--bind", "127.0.0.1:$PORT"]
health_path = "/orga/login/"

[database]
seed = "python -m pretalx createsuperuser --noinput"

[env]
PRETALX_DB_TYPE = "postgresql"
PRETALX_DB_NAME = "${PGDATABASE}"
PRETALX_DB_USER = "${PGUSER}"
PRETALX_DB_PASS = "${PGPASSWORD}"
PRETALX_DB_HOST = "${PGHOST}"
PRETALX_DB_PORT = "${PGPORT}"
PRETALX_DATA_DIR = "${HOME}"
PRETALX_FILESYSTEM_STATIC = "data/static"
PRETALX_SITE_URL = "${FRONTEND_URL}"
PRETALX_HTTPS = "off"
DJANGO_SUPERUSER_EMAIL = "ada@example.com"
DJANGO_SUPERUSER_PASSWORD = "only-for-the-previews"
"""
ALERTA = """\
[backend]
install = ["uv", "pip", "install", "alerta-server==9.1.0", "psycopg2-binary", "gunicorn"]
web = ["gunicorn", "alerta:create_app()", "--bind", "127.0.0.1:$PORT"]
health_path = "/_"
"""


@pytest.fixture
def django_project(tmp_path):
    """What `django-admin startproject` makes, as it makes it, and what it needs."""
    run_starter(sys.executable, "-m", "django", "startproject", "mysite", cwd=tmp_path)
    (tmp_path / "mysite" / "requirements.txt").write_text(DJANGO)
    return tmp_path / "mysite"


def test_a_new_django_project_is_previewed_unchanged(host, django_project):
    place = host(django_project)
    run = place.preview("feature/first", {"README.md": "hello"})
    page = place.page()
    assert page.status_code == 200
    assert "The install worked successfully" in page.text
    assert page.headers["X-Oroboros-Run"] == str(run.pk)
    login = place.page("/admin/login/")
    assert login.status_code == 200 and "csrfmiddlewaretoken" in login.text
    assert place.page("/static/admin/css/base.css").status_code == 200
    [note] = [text for text in run.list_notes() if "SQLite" in text]
    assert "cannot ship" in note


@pytest.mark.full
def test_a_django_project_with_settings_for_postgresql_asks_for_a_login(host, django_project):
    (django_project / "mysite" / "production.py").write_text(POSTGRESQL)
    (django_project / "oroboros.toml").write_text(MAPPING)
    place = host(django_project)
    run = place.preview("feature/first", {"README.md": "hello"})
    assert '"public.django_session"' in place.artifact(run, "schema_after")
    assert place.page("/admin/login/").status_code == 200


def log_in(place, path, **fields):
    """Fill in a login form as a browser would; returns the session and the answer."""
    session = requests.Session()
    address = f"http://127.0.0.1:{place.slot.web_port}{path}"
    page = session.get(address, timeout=30)
    assert page.status_code == 200
    token = session.cookies["pretalx_csrftoken"]
    headers = {"Referer": address}
    fields = {"csrfmiddlewaretoken": token, **fields}
    return session, session.post(address, fields, headers=headers, timeout=30)


@pytest.mark.full
def test_a_django_application_from_the_package_index_logs_its_organiser_in(host, tmp_path):
    application = tmp_path / "talks"
    application.mkdir()
    (application / "requirements.txt").write_text(PRETALX_REQUIREMENTS)
    (application / "oroboros.toml").write_text(PRETALX)
    place = host(application)
    run = place.preview("feature/first", {"README.md": "hello"})
    assert '"public.event_event"' in place.artifact(run, "schema_after")
    session, answer = log_in(
        place, "/orga/login/", login_email="ada@example.com", login_password="only-for-the-previews"
    )
    assert answer.status_code == 200, answer.text
    assert "pretalx_session" in session.cookies, answer.text
    assert answer.headers["X-Oroboros-Run"] == str(run.pk)


@pytest.mark.full
def test_a_new_fastapi_project_answers_from_its_lock_file(host, tmp_path):
    """Its starter makes a project with a uv.lock, and a virtual environment that stays at home."""
    python = os.path.realpath(sys.executable)
    run_starter(
        Path(sys.executable).with_name("uv"), "tool", "run", "--python", python,
        "fastapi-new", "--python", python, "api", cwd=tmp_path,
    )  # fmt: skip
    shutil.rmtree(tmp_path / "api" / ".venv")
    place = host(tmp_path / "api")
    run = place.preview("feature/first", {"README.md": "hello"})
    answer = place.page()
    assert answer.json() == {"message": "Hello World"}
    assert answer.headers["X-Oroboros-Run"] == str(run.pk)
    assert "Swagger UI" in place.page("/docs").text


@pytest.mark.full
def test_a_flask_application_from_the_package_index_keeps_its_rows(host, tmp_path):
    application = tmp_path / "alerts"
    application.mkdir()
    (application / "oroboros.toml").write_text(ALERTA)
    place = host(application)
    place.preview("feature/first", {"README.md": "hello"})
    assert "/alerts" in place.page().text
    alert = {"resource": "web01", "event": "down", "environment": "Production", "service": ["web"]}
    address = f"http://127.0.0.1:{place.slot.web_port}"
    assert requests.post(f"{address}/alert", json=alert, timeout=10).status_code == 201
    assert place.page("/alerts").json()["alerts"][0]["resource"] == "web01"


def test_a_branch_that_adds_the_manifest_is_previewed(host, tmp_path):
    application = tmp_path / "application"
    application.mkdir()
    (application / "README.md").write_text("hello")
    place = host(application)
    run = place.preview("feature/manifest", {"index.html": "<h1>hello</h1>"})
    assert place.page().text == "<h1>hello</h1>"
    assert "the template is empty" in place.artifact(run, "database_log")
    assert f"OROBOROS_COMMIT={run.commit_sha}" in place.artifact(run, "environment")


@pytest.mark.full
def test_a_new_vite_project_is_built_and_served(host, tmp_path):
    run_starter(
        "npm", "exec", "--yes", "create-vite@latest", "--", "site", "--template", "vanilla",
        "--no-interactive", cwd=tmp_path,
    )  # fmt: skip
    place = host(tmp_path / "site")
    run = place.preview("feature/first", {"README.md": "hello"})
    page = place.page()
    assert page.status_code == 200
    assert page.headers["X-Oroboros-Commit"] == run.commit_sha
    script = page.text.partition('src="')[2].partition('"')[0]
    assert script.startswith("/assets/") and place.page(script).status_code == 200
    assert place.page("/assets/gone.js").status_code == 404


def test_the_processes_that_are_not_started_are_notes_of_the_run(host, tmp_path):
    application = tmp_path / "application"
    application.mkdir()
    (application / "index.html").write_text("hello")
    (application / "Procfile").write_text("worker: python work.py\n")
    place = host(application)
    run = place.preview("feature/worker", {"README.md": "hello"})
    note = "The process 'worker' is not started: the application has no web process."
    assert run.list_notes() == [note]
    assert run.events.filter(kind="note", text=note).count() == 1


def test_an_extension_that_the_server_lacks_is_a_note_before_the_install(host, tmp_path):
    application = tmp_path / "application"
    application.mkdir()
    (application / "index.html").write_text("hello")
    (application / "schema.sql").write_text("CREATE EXTENSION citext; CREATE EXTENSION postgis;")
    place = host(application)
    run = place.preview("feature/extensions", {"README.md": "hello"})
    [note] = [one for one in run.notes if "postgis" in one["text"]]
    assert note["step"] == "install"
    assert "schema.sql creates the PostgreSQL extension postgis, which" in note["text"]
    assert not any("citext" in text for text in run.list_notes())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("postgis", "add it to PREVIEW_ALLOWED_EXTENSIONS"),
        pytest.param("nothing", "which the applications'", marks=pytest.mark.full),
    ],
)
def test_an_extension_that_cannot_be_had_is_refused_before_anything_runs(
    host, tmp_path, name, words
):
    application = tmp_path / "application"
    application.mkdir()
    (application / "Procfile").write_text("web: python -m http.server\n")
    place = host(application)
    place.config.environ["PREVIEW_ALLOWED_EXTENSIONS"] = "nothing"
    run = place.carry("feature/x", {"oroboros.toml": f'[database]\nextensions = ["{name}"]\n'})
    assert run.failure_code == "MANIFEST_INVALID"
    assert name in run.failure_detail and words in run.failure_detail
    assert not run.steps.filter(name="install", status="done").exists()


@pytest.mark.full
def test_an_install_that_installs_elsewhere_is_no_death_of_the_worker(host, tmp_path):
    application = tmp_path / "application"
    application.mkdir()
    package = {"scripts": {"build": "true"}, "devDependencies": {"is-odd": "3.0.0"}}
    (application / "package.json").write_text(json.dumps(package))
    (application / ".npmrc").write_text("omit=dev")
    (application / "oroboros.toml").write_text(
        '[frontend]\nbuild = "npm run build"\noutput = "."\n'
    )
    run = host(application).carry("feature/omit", {"README.md": "hello"})
    assert run.failure_code == "EFFECT_MISSING"
    assert "no folder node_modules in the tree" in run.failure_detail
