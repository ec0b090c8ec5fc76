"""Migrations that no `release` runs are a note, unless the application may run them itself."""

import json

import pytest

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
        package(NODE | {"prestart": "prisma migrate deploy"}),
        {"index.html": "", "alembic.ini": ""},
    ],
)
def test_migrations_that_may_run_are_none(load_files, files):
    assert load_files(files).notes == ()
