"""Migrations that no `release` runs are a note, unless the application may run them itself."""

import json

import pytest

from host.files import source_tree

FLASK = {"app.py": "app = Flask(__name__)", "requirements.txt": "flask"}
NODE = {"start": "node server.js"}


def package(scripts):
    return {"package.json": json.dumps({"scripts": scripts}), "prisma/schema.prisma": ""}


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (FLASK | {"alembic.ini": ""}, "alembic upgrade head"),
        (FLASK | {"migrations/alembic.ini": ""}, "flask db upgrade"),
        ({f"backend/{name}": text for name, text in (FLASK | {"alembic.ini": ""}).items()},
         "alembic upgrade head"),
        (package(NODE), "prisma migrate deploy"),
    ],
)  # fmt: skip
def test_migrations_that_nothing_runs_are_a_note(load_files, files, line):
    [note] = load_files(files).notes
    assert f"write `release: {line}` into the Procfile" in note


@pytest.mark.parametrize(
    "files",
    [
        FLASK | {"alembic.ini": "", "Procfile": "web: flask run\nrelease: alembic upgrade head"},
        FLASK | {"alembic.ini": "", "Procfile": "web: ./bin/start"},
        FLASK | {"alembic.ini": "", "Procfile": "web: sh start.sh"},
        package(NODE | {"postinstall": "prisma migrate deploy"}),
        {"index.html": "", "alembic.ini": ""},
    ],
)
def test_migrations_that_may_run_are_none(load_files, files):
    assert load_files(files).notes == ()


START = "#!/bin/sh\nset -e\npython manage.py migrate --noinput\nexec gunicorn shop.wsgi\n"


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"Procfile": "web: python manage.py migrate"}, "its command"),
        ({"Procfile": "web: ./bin/start", "bin/start": START}, "bin/start"),
        ({"Procfile": "web: sh start.sh", "start.sh": START}, "start.sh"),
        (package(NODE | {"prestart": "prisma migrate deploy"}), "prestart of package.json"),
        (package({"start": "knex migrate:latest && node server.js"}), "start of package.json"),
    ],
)
def test_migrations_that_web_runs_at_its_start_are_a_note(load_files, files, where):
    [note] = load_files(FLASK | files if "package.json" not in files else files).notes
    assert note.startswith("`web` migrates the database when it starts (")
    assert f" in {where})" in note
    assert "`release:`" in note


@pytest.mark.parametrize(
    "files",
    [
        {"Procfile": "web: sh start.sh\nrelease: flask db upgrade", "start.sh": START},
        {"Procfile": "web: sh start.sh", "start.sh": "# python manage.py migrate\nflask run\n"},
        {"Procfile": "web: sh /etc/passwd"},
        {"Procfile": "web: sh -x"},
        {"Procfile": "web: bin/shop", "bin/shop": "\0" * (source_tree.FILE_BYTES + 1)},
        {"Procfile": "web: bin/shop", "bin/shop": "\0 manage.py migrate"},
    ],
)
def test_a_web_that_does_not_migrate_has_no_note(load_files, files):
    assert load_files(FLASK | files).notes == ()
