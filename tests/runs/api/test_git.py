"""Answers of the API that need git: real branches, commits and differences."""

import subprocess
from dataclasses import replace

import pytest
from django.test import Client

from accounts.tokens import create_token
from host.config import load
from runs.models import Run
from runs.rules import Status

pytestmark = pytest.mark.django_db
CHECKS = '[checks]\ntests = "pytest"\ntypes = "mypy"\nslow = { run = "sh slow.sh", timeout = 60 }\n'
OTHER_CHECKS = (
    '[checks]\ntests = "pytest -x"\nslow = { run = "sh slow.sh", timeout = 60 }\nl = "x"\n'
)
GIT = ("git", "-c", "user.name=Alice", "-c", "user.email=alice@example.com")


@pytest.fixture
def remote(tmp_path, settings, a_host_with_free_capacity):
    """A remote with `main` and a branch that adds a migration; the settings point at it."""
    folder = tmp_path / "remote"
    folder.mkdir()

    def git(*arguments):
        argv = [*GIT, *arguments]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(message, files):
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", message)
        return git("rev-parse", "HEAD")

    git("init", "-q", "--initial-branch=main")
    commit("first", {"page.py": "old\n", "oroboros.toml": CHECKS})
    git("checkout", "-q", "-b", "feature/reactions")
    commit("reactions", {"page.py": "new\n", "app/migrations/0002.sql": "ALTER TABLE a;\n"})
    git("checkout", "-q", "-b", "feature/checks")
    commit("checks", {"oroboros.toml": OTHER_CHECKS})
    environ = {"GIT_LOCAL_ROOTS": str(tmp_path), "OROBOROS_VAR": str(tmp_path / "var")}
    git_config = load({**environ, "GIT_REMOTE_URL": str(folder)})
    settings.OROBOROS = replace(
        settings.OROBOROS,
        var=git_config.var,
        git_remote_url=git_config.git_remote_url,
        git_local_roots=git_config.git_local_roots,
    )
    return git


@pytest.fixture
def client():
    secret = create_token("ci", ["view", "hold"], created_by="tests")
    return Client(headers={"authorization": f"Bearer {secret}"})


def post(client, **body):
    return client.post("/api/runs", {"title": "x", **body}, content_type="application/json")


def test_a_run_of_a_branch_has_the_branchs_current_commit(client, remote, slots):
    answer = post(client, branch="feature/reactions")
    assert answer.status_code == 201, answer.content
    shape = answer.json()
    assert shape["commit_sha"] == remote("rev-parse", "feature/reactions")
    assert (shape["slot_id"], shape["status"]) == ("preview-1", Status.PREPARING)


@pytest.mark.parametrize(
    ("body", "code"),
    [({"commit": "a" * 40}, "sha_unknown"), ({"branch": "feature/none"}, "branch_unknown")],
)
def test_an_unknown_branch_or_commit_returns_404_and_creates_no_run(client, remote, body, code):
    answer = post(client, **body)
    assert (answer.status_code, answer.json()["error"]) == (404, code)
    assert Run.objects.count() == 0


def test_the_difference_lists_migrations(client, remote, slots):
    run = post(client, branch="feature/reactions").json()
    shape = client.get(f"/api/runs/{run['id']}/diff").json()
    assert shape["base_sha"] == remote("rev-parse", "main")
    assert shape["files"] == ["app/migrations/0002.sql", "page.py"]
    assert shape["migrations"] == ["app/migrations/0002.sql"]
    assert [one["subject"] for one in shape["commits"]] == ["reactions"]
    assert "+new" in shape["patch"]
    assert not shape["is_cut"]


def test_the_difference_lists_changed_checks(client, remote, slots):
    run = post(client, branch="feature/checks").json()
    assert client.get(f"/api/runs/{run['id']}/diff").json()["checks"] == [
        {"name": "tests", "before": "pytest", "after": "pytest -x"},
        {"name": "types", "before": "mypy", "after": None},
        {"name": "l", "before": None, "after": "x"},
    ]
    other = post(client, branch="feature/reactions").json()
    assert client.get(f"/api/runs/{other['id']}/diff").json()["checks"] == []


def test_a_reservation_has_no_difference(client, remote):
    run = post(client, prepare=False).json()
    answer = client.get(f"/api/runs/{run['id']}/diff")
    assert (answer.status_code, answer.json()["error"]) == (409, "no_commit")


@pytest.mark.parametrize(
    "value",
    ["1" * 5000, "{ timeout = 0x" + "f" * 5000 + " }", "[" * 5000, "{ a" + ".a" * 3000 + " = 1 }"],
)
def test_unreadable_checks_are_reported_as_none(client, remote, slots, tmp_path, value):
    remote("checkout", "-q", "-b", "feature/odd")
    (tmp_path / "remote" / "oroboros.toml").write_text(f"[checks]\ntests = {value}\n")
    remote("commit", "-q", "-a", "-m", "odd")
    run = post(client, branch="feature/odd").json()
    answer = client.get(f"/api/runs/{run['id']}/diff")
    assert answer.status_code == 200
    assert {check["name"]: check["after"] for check in answer.json()["checks"]} == {
        "tests": None,
        "types": None,
        "slow": None,
    }
