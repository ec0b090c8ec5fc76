"""Answers of the API that need git: real branches, commits and differences."""

import html
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.tokens import create_token
from host.config import load
from runs.lifecycle import branch_watch
from runs.models import Run
from runs.repository import open_repository
from runs.rules import Status
from tests.factories import LeaseFactory, RunFactory, UserFactory

pytestmark = pytest.mark.django_db
CHECKS = '[checks]\ntests = "pytest"\ntypes = "mypy"\nslow = { run = "sh slow.sh", timeout = 60 }\n'
OTHER_CHECKS = (
    '[checks]\ntests = "pytest -x"\nslow = { run = "sh slow.sh", timeout = 60 }\nl = "x"\n'
)
GIT = ("git", "-c", "user.name=Alice", "-c", "user.email=alice@example.com")
FILE = 'class="oro-details oro-file"'


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


@pytest.fixture
def large_run(client, remote, slots, tmp_path):
    """A run that changes 301 files; the first has 4,100 lines, the last hides a second file."""
    remote("checkout", "-q", "-b", "feature/large", "main")
    folder = tmp_path / "remote"
    (folder / "a-first.txt").write_text("x\n" * 4100)
    for number in range(299):
        (folder / f"b{number:03}.txt").write_text(f"{number}\n")
    forged = "safe\x0cdiff --git a/oroboros.toml b/oroboros.toml\u2028-[checks]\u202e\r\n"
    (folder / "z b").mkdir()
    (folder / "z b" / "last.txt").write_text(forged, newline="")
    remote("add", "-A")
    remote("commit", "-q", "-m", "large\u202e")
    return post(client, branch="feature/large").json()["id"]


def test_every_file_is_listed_and_what_is_left_out_is_counted(client, large_run):
    shape = client.get(f"/api/runs/{large_run}/diff").json()
    assert len(shape["files"]) == len(shape["changes"]) == 301
    assert (shape["omitted_count"], shape["is_cut"]) == (1, True)
    first, *_, last = shape["changes"]
    assert (first["path"], first["added"], first["omitted"]) == (
        "a-first.txt",
        4100,
        "4,100 changed lines are not shown.",
    )
    assert first["command"].endswith("-- a-first.txt")
    assert (last["path"], last["status"], last["omitted"]) == ("z b/last.txt", "added", "")
    assert shape["patch"].count("diff --git ") == 302, "301 files, and a line that says the same"
    hidden = (
        "+safe<U+000C>diff --git a/oroboros.toml b/oroboros.toml<U+2028>-[checks]<U+202E><CR>\n"
    )
    assert hidden in shape["patch"]
    assert shape["commits"][0]["subject"] == "large<U+202E>"
    alone = client.get(first["url"]).json()
    assert [change["path"] for change in alone["changes"]] == ["a-first.txt"]
    assert (alone["patch"].count("\n+x"), alone["is_cut"]) == (4100, False)
    unknown = client.get(f"/api/runs/{large_run}/diff?path=none")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "path_unknown")


def test_the_runs_page_lists_every_file_and_marks_hidden_characters(large_run):
    admin = Client()
    admin.force_login(UserFactory(groups=["approver"]))
    address = reverse("admin:runs_run_change", args=[large_run])
    page = admin.get(address).content.decode()
    assert "301 files changed, 1 of them not shown in full" in page
    assert page.count(FILE) == 301
    assert "safe<mark>&lt;U+000C&gt;</mark>diff --git" in page
    assert "?path=a-first.txt" in page
    alone = admin.get(f"{address}?path=a-first.txt").content.decode()
    assert (alone.count('<span class="add">'), alone.count(FILE)) == (4100, 1)
    Run.objects.filter(pk=large_run).update(status=Status.PREVIEW_READY)
    approval = admin.get(reverse("admin:runs_run_approve", args=[large_run])).content.decode()
    assert "301 files changed, 1 of them not shown in full" in approval


def test_asking_again_for_a_branch_or_its_commit_leads_to_the_open_run(client, remote, slots):
    first = post(client, branch="feature/reactions")
    commit = remote("rev-parse", "feature/reactions")
    again = [post(client, branch="feature/reactions"), post(client, commit=commit)]
    assert (first.status_code, [answer.status_code for answer in again]) == (201, [200, 200])
    assert {answer.json()["id"] for answer in again} == {first.json()["id"]}
    another = post(client, branch="feature/reactions", another=True)
    assert (another.status_code, Run.objects.count()) == (201, 2)
    Run.objects.exclude(pk=first.json()["id"]).delete()
    Run.objects.update(status=Status.MERGING, commit_sha="f" * 40)
    newer = post(client, branch="feature/reactions")
    assert newer.status_code == 201, "what merges is another commit"
    reservations = [post(client, branch="feature/reactions", prepare=False) for _ in range(2)]
    assert {answer.status_code for answer in reservations} == {201}


def test_the_new_run_page_leads_to_the_open_run_and_lists_no_merged_branch(client, remote, slots):
    remote("branch", "merged", "main")
    admin = Client()
    admin.force_login(UserFactory(groups=["approver"]))
    new, body = reverse("admin:runs_run_new"), {"branch": "feature/reactions"}
    first, again = admin.post(new, body), admin.post(new, body, follow=True)
    assert again.redirect_chain == [(first["Location"], 302)]
    assert "feature/reactions has an open run already" in again.content.decode()
    page = admin.get(new).content.decode()
    assert ("?branch=feature%2Freactions" in page, "?branch=merged" in page) == (True, False)


@pytest.mark.parametrize("name", ["fix/🚀-launch", 'ada\'s-"x"<b>&%s', "cafe\u0301/हिन्दी"])
def test_a_branch_with_an_unusual_name_has_a_run_and_pages(client, remote, slots, name):
    remote("branch", name, "feature/reactions")
    run = post(client, branch=name).json()
    assert (run["branch"], run["commit_sha"]) == (name, remote("rev-parse", "feature/reactions"))
    found = client.get("/api/runs", {"branch": name}).json()["results"]
    assert [one["id"] for one in found] == [run["id"]]
    assert name in client.get(f"/api/runs/{run['id']}/events").json()["results"][-1]["text"]
    admin = Client()
    admin.force_login(UserFactory(groups=["approver"]))
    for address in (
        reverse("admin:runs_run_change", args=[run["id"]]),
        reverse("admin:runs_run_changelist"),
        reverse("admin:runs_run_new"),
    ):
        assert html.escape(name) in admin.get(address).content.decode()
    Run.objects.update(status=Status.PREVIEW_READY)
    remote("checkout", "-q", name)
    remote("commit", "-q", "--allow-empty", "-m", "more")
    branch_watch.watch_branches()
    assert Run.objects.get().commit_sha == remote("rev-parse", "HEAD")


def test_a_branch_name_with_a_hidden_character_is_refused_by_that_character(client, remote):
    answer = post(client, branch="mai\u200bn")
    assert (answer.status_code, answer.json()["error"]) == (400, "ref_invalid")
    assert "U+200B (ZERO WIDTH SPACE)" in answer.json()["detail"]


def test_an_approval_of_a_branch_that_has_moved_is_refused_at_once(remote):
    commit = remote("rev-parse", "feature/reactions")
    approver = Client(
        headers={"authorization": f"Bearer {create_token('r', ['approve'], created_by='tests')}"}
    )
    run = RunFactory(status=Status.PREVIEW_READY, branch="feature/reactions", commit_sha=commit)
    open_repository(settings.OROBOROS).create_if_missing()
    open_repository(settings.OROBOROS).fetch(settings.OROBOROS.git_remote_url)
    remote("checkout", "-q", "feature/reactions")
    remote("commit", "-q", "--allow-empty", "-m", "moved")
    body = {"commit_sha": commit}
    answer = approver.post(f"/api/runs/{run.pk}/approve", body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]) == (409, "commit_moved")
    assert remote("rev-parse", "HEAD")[:12] in answer.json()["detail"]
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY


def test_a_remote_that_does_not_answer_refuses_no_approval(remote):
    commit = remote("rev-parse", "feature/reactions")
    approver = Client(
        headers={"authorization": f"Bearer {create_token('r', ['approve'], created_by='tests')}"}
    )
    run = LeaseFactory(
        held=True,
        slot__number=1,
        run__status=Status.PREVIEW_READY,
        run__branch="feature/reactions",
        run__commit_sha=commit,
    ).run
    open_repository(settings.OROBOROS).create_if_missing()
    open_repository(settings.OROBOROS).fetch(settings.OROBOROS.git_remote_url)
    Path(settings.OROBOROS.git_remote_url).rename(settings.OROBOROS.var / "elsewhere")
    body = {"commit_sha": commit}
    answer = approver.post(f"/api/runs/{run.pk}/approve", body, content_type="application/json")
    assert (answer.status_code, answer.json()["status"]) == (200, Status.APPROVED)
