"""What the report says of a folder: values, files, what is missing, and what is wrong."""

import json

import pytest

from host.app.inspection import report, table
from tests.host.app.inspection.examples import TOOLS
from tests.host.app.trees import write_tree

VITE = json.dumps({"scripts": {"build": "vite build"}, "devDependencies": {"vite": "7"}})


@pytest.fixture
def inspect(tmp_path):
    """Return a function that writes files and reports on them, on a host with some programs."""

    def run(files, programs=("npm", "node")):
        write_tree(tmp_path, files)
        return report.build_report(tmp_path, TOOLS, lambda name: name in programs or None)

    return run


def rows(found, name):
    return [(row.value, row.why) for row in found.rows if row.name == name]


def test_each_row_names_the_file_that_says_so(inspect):
    files = {
        "backend/manage.py": '"DJANGO_SETTINGS_MODULE", "site.settings"',
        "backend/requirements.txt": "django\n",
        "frontend/package.json": VITE,
        "Procfile": "web: python backend/manage.py runserver $PORT\n",
        "oroboros.toml": '[backend]\ndirectory = "backend"\n[routes]\n"/x" = "web"\n',
    }
    found = inspect(files)
    assert rows(found, "framework") == [("Django", "backend/manage.py")]
    assert rows(found, "language") == [
        ("Python 3.12.3", "backend/requirements.txt"),
        ("Node.js 22.1", "frontend/package.json"),
    ]
    assert rows(found, "build") == [("npm run build (in frontend)", "vite: frontend/package.json")]
    [(web, why)] = rows(found, "process")
    assert (web, why) == ("web: python backend/manage.py runserver $PORT (in backend)", "Procfile")
    assert ("/x: web", "oroboros.toml") in rows(found, "route")
    assert rows(found, "health path") == [
        ("/ (a guess: any answer below 500)", "Django: backend/manage.py")
    ]
    assert found.is_complete


def test_services_and_storage_are_listed_with_the_file_that_names_them(inspect):
    files = {
        "Procfile": "web: python server.py\n",
        "app.json": '{"addons": ["heroku-redis"]}',
        "oroboros.toml": '[storage]\nmedia = "uploads"\n',
    }
    found = inspect(files)
    assert rows(found, "service")[1:] == [("Redis, as REDIS_URL", "app.json")]
    assert rows(found, "storage") == [("uploads, as OROBOROS_STORAGE_MEDIA", "oroboros.toml")]


def test_a_program_that_the_host_lacks_is_named_with_the_command_that_installs_it(inspect):
    found = inspect({"package.json": VITE}, programs=())
    assert not found.is_complete
    assert [(one.name, one.command) for one in found.missing] == [
        ("npm", "apt-get install nodejs npm")
    ]
    text = "\n".join(table.format_report(found))
    assert "- npm, for the install in .: apt-get install nodejs npm" in text


def test_a_folder_of_which_nothing_is_known_says_what_to_write(inspect):
    found = inspect({"requirements.txt": "requests\n"})
    [problem] = found.problems
    assert "write `web: <command>`" in problem
    assert rows(found, "language") == [("Python 3.12.3", "requirements.txt")]
    assert json.loads(json.dumps(found.as_dict()))["ok"] is False


def test_a_refused_file_is_a_problem_and_the_rest_is_reported(inspect):
    found = inspect({"app.py": "app = Flask(__name__)", "requirements.txt": "flask", ".nvmrc": "1",
                     ".python-version": "3.7"})  # fmt: skip
    [problem] = found.problems
    assert ".python-version asks for Python 3.7" in problem
    assert rows(found, "framework") == []
    assert rows(found, "process")[0][0].startswith("web: flask run")
