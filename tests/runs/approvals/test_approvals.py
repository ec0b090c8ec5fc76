"""Approvals of several people with a checklist and owners: in the API, the admin, and the shell."""

import subprocess
from dataclasses import replace

import pytest
from django.conf import settings as conf
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from accounts.identities import find_person, list_identities
from accounts.tokens import create_token
from host.config import load
from host.errors import Refused
from runs.lifecycle import branch_watch, operations
from runs.models import Run
from runs.pipelines import merge_gate
from runs.repository import open_repository
from runs.rules import Status
from tests.factories import ApprovalFactory, LeaseFactory, RunFactory, UserFactory

pytestmark = pytest.mark.django_db
CHECKLIST = '[approval]\nchecklist = ["tested on a phone", "texts are translated"]\n'
ITEMS = ["tested on a phone", "texts are translated"]
OWNERS = "* @zoe\n/backend/ @ann @org/backend\n/free\n"


@pytest.fixture
def git(tmp_path, settings):
    """A remote: `main` with a checklist and owners, and a branch that takes both away."""
    folder = tmp_path / "remote"
    folder.mkdir()

    def run(*arguments):
        argv = ["git", "-c", "user.name=Eve", "-c", "user.email=Eve@example.com", *arguments]
        return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True).stdout

    def commit(message, files):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        run("add", "-A")
        run("commit", "-q", "--allow-empty", "-m", message)
        return run("rev-parse", "HEAD").strip()

    run("init", "-q", "--initial-branch=main")
    commit("first", {"oroboros.toml": CHECKLIST, ".github/CODEOWNERS": OWNERS, "free": ""})
    run("checkout", "-q", "-b", "feature/a")
    files = {"oroboros.toml": "", ".github/CODEOWNERS": "* @eve\n", "backend/a.py": "", "free": "1"}
    commit("takes both away", files)
    environ = {"GIT_LOCAL_ROOTS": str(tmp_path), "OROBOROS_VAR": str(tmp_path / "var")}
    git_config = load({**environ, "GIT_REMOTE_URL": str(folder)})
    settings.OROBOROS = replace(
        settings.OROBOROS,
        var=git_config.var,
        git_remote_url=git_config.git_remote_url,
        git_local_roots=git_config.git_local_roots,
    )
    run.commit = commit
    return run


@pytest.fixture
def run(git):
    """A ready run of the branch, made by alice."""
    lease = LeaseFactory(
        held=True,
        slot__number=1,
        run__status=Status.PREVIEW_READY,
        run__branch="feature/a",
        run__commit_sha=git("rev-parse", "feature/a").strip(),
    )
    repo = open_repository(conf.OROBOROS)
    repo.fetch(conf.OROBOROS.git_remote_url)
    branch_watch.update_merge_notes(conf.OROBOROS, repo, lease.run)
    return Run.objects.get(pk=lease.run.pk)


def log_in(name, *groups, **user):
    client = Client()
    client.force_login(UserFactory(username=name, groups=["approver", *groups], **user))
    return client


def approve(client, run, **body):
    body = {"commit_sha": run.commit_sha, "checklist": ITEMS, **body}
    answer = client.post(f"/api/runs/{run.pk}/approve", body, content_type="application/json")
    return answer.status_code, answer.json()


def test_the_checklist_of_the_target_branch_counts_though_the_branch_takes_it_away(run):
    ann = log_in("ann")
    shown = ann.get(f"/api/runs/{run.pk}").json()["approval_state"]
    assert shown["checklist"] == ITEMS
    status, body = approve(ann, run, checklist=ITEMS[:1])
    assert (status, body["error"]) == (409, "checklist_incomplete")
    assert "texts are translated" in body["detail"]
    status, body = approve(ann, run)
    assert (status, body["status"]) == (200, "approved")
    assert body["approvals"][0]["checklist"] == ITEMS
    page = ann.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "✓ tested on a phone" in page


def test_the_page_asks_for_the_checklist_and_says_what_is_not_ticked(run):
    ann = log_in("ann")
    address = reverse("admin:runs_run_approve", args=[run.pk])
    page = ann.get(address, {"commit_sha": run.commit_sha}).content.decode()
    assert page.count('name="checklist"') == 2
    answer = ann.post(address, {"commit_sha": run.commit_sha, "checklist": ITEMS[:1]})
    assert (answer.status_code, "texts are translated" in answer.content.decode()) == (409, True)
    assert not run.approvals.exists()
    answer = ann.post(address, {"commit_sha": run.commit_sha, "checklist": ITEMS})
    assert answer.status_code == 302
    run.refresh_from_db()
    assert run.status == Status.APPROVED


def test_a_commit_needs_two_people_of_whom_a_token_is_none_of_its_own(run, configure):
    configure(APPROVAL_REQUIRED_COUNT="2")
    ann, bob = log_in("ann"), log_in("bob")
    status, body = approve(ann, run)
    assert (status, body["status"]) == (200, "preview_ready")
    assert "1 of 2 approvals" in body["next_action"]
    assert (body["approval_state"]["count"], body["approval_state"]["required_count"]) == (1, 2)
    assert not body["allowed_actions"]["approve"]["allowed"]
    account = User.objects.get(username="ann")
    secret = create_token("anns", ["view", "approve"], created_by="ann", owner=account)
    token = Client(headers={"authorization": f"Bearer {secret}"})
    for client in (ann, token):
        status, body = approve(client, run)
        assert (status, body["error"]) == (409, "already_approved")
    page = bob.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "1 of 2 approvals." in page
    status, body = approve(bob, run)
    assert (status, body["status"]) == (200, "approved")
    assert [one["actor"] for one in body["approvals"]] == ["bob", "ann"]
    texts = list(run.events.filter(kind="approved").order_by("id").values_list("text", flat=True))
    assert "(1 of 2 approvals.)" in texts[0]
    assert len(texts) == 2
    assert "of 2" not in texts[1]


def test_a_new_commit_drops_the_approvals_that_were_given(run, git, configure):
    configure(APPROVAL_REQUIRED_COUNT="2")
    approve(log_in("ann"), run)
    head = git.commit("more", {"backend/b.py": ""})
    branch_watch.watch_branches()
    run.refresh_from_db()
    assert (run.commit_sha, run.status) == (head, Status.PREPARING)
    assert run.approvals.get().void_reason == f"the branch has a new commit, {head}"
    Run.objects.update(status=Status.PREVIEW_READY)
    status, body = approve(log_in("bob"), Run.objects.get())
    assert (status, body["approval_state"]["count"]) == (200, 1)


@pytest.mark.parametrize("name", ["alice", "eve"])
def test_who_made_the_run_or_its_commits_may_not_approve_it_if_that_is_forbidden(
    run, configure, name
):
    configure(APPROVAL_SELF="forbidden")
    maker = log_in(name, email=f"{name}@example.com")  # eve wrote the commit
    state = maker.get(f"/api/runs/{run.pk}").json()["allowed_actions"]["approve"]
    assert (state["allowed"], "another person must approve" in state["reason"]) == (False, True)
    status, body = approve(maker, run)
    assert (status, body["error"]) == (403, "approval_of_own")
    page = maker.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert f"{run.pk}/approve/" not in page
    assert approve(log_in("bob"), run)[0] == 200


def test_the_account_behind_a_token_that_made_the_run_may_not_approve_it(git, configure):
    configure(APPROVAL_SELF="forbidden")
    ann = UserFactory(username="ann", groups=["operator"])
    create_token("ci", ["view", "hold"], created_by="ann", owner=ann)
    parent = RunFactory(created_by="token ci", status=Status.CANCELED)
    run = LeaseFactory(
        held=True,
        slot__number=1,
        run__status=Status.PREVIEW_READY,
        run__branch="feature/a",
        run__created_by="bob",
        run__parent=parent,
        run__commit_sha=git("rev-parse", "feature/a").strip(),
    ).run
    repo = open_repository(conf.OROBOROS)
    repo.fetch(conf.OROBOROS.git_remote_url)
    for actor in ("ann", "token ci", "bob"):
        with pytest.raises(Refused) as refused:
            operations.approve(run, actor=actor, checklist=ITEMS)
        assert refused.value.code == "approval_of_own"
    assert operations.approve(run, actor="host", checklist=ITEMS).is_complete


def test_an_owner_of_the_changed_paths_must_approve_by_the_target_branchs_list(run, configure):
    configure(APPROVAL_CODEOWNERS="required")
    status, body = approve(log_in("eve"), run)
    assert (status, body["status"]) == (200, "preview_ready")
    missing = {
        tuple(one["owners"]): one["paths"] for one in body["approval_state"]["missing_owners"]
    }
    assert {key: sorted(paths) for key, paths in missing.items()} == {
        ("@zoe",): [".github/CODEOWNERS", "oroboros.toml"],
        ("@/backend", "@ann"): ["backend/a.py"],
    }
    assert approve(log_in("bob", "backend"), run)[1]["status"] == "preview_ready"
    assert approve(log_in("Zoe"), run)[1]["status"] == "approved"


def test_a_lowered_setting_lets_the_same_person_complete_the_approval(run, configure):
    configure(APPROVAL_REQUIRED_COUNT="2")
    ann = log_in("ann")
    approve(ann, run)
    configure(APPROVAL_REQUIRED_COUNT="1")
    assert approve(ann, run)[1]["status"] == "approved"
    assert run.approvals.count() == 1


def test_the_shell_on_the_host_is_a_person_that_confirms_the_checklist_too(run):
    with pytest.raises(Refused, match="tested on a phone") as refused:
        operations.approve(run, actor="host")
    assert refused.value.code == "checklist_incomplete"
    assert operations.approve(run, actor="host", checklist=ITEMS).is_complete


def test_a_person_has_one_valid_approval_of_a_run(run):
    ApprovalFactory(run=run, actor="ann")
    with pytest.raises(IntegrityError):
        ApprovalFactory(run=run, actor="token anns", person="ann")


def test_an_unreadable_manifest_of_the_target_branch_asks_for_nothing(git, run):
    git("checkout", "-q", "main")
    git.commit("broken", {"oroboros.toml": "[approval"})
    assert approve(log_in("ann"), run, checklist=[])[1]["status"] == "approved"


def test_the_operator_who_accepts_the_branchs_checks_need_not_be_the_last(run, configure):
    configure(APPROVAL_REQUIRED_COUNT="2")
    operations.approve(run, actor="olga", accept_checks=True, checklist=ITEMS)
    operations.approve(run, actor="bob", checklist=ITEMS)
    assert merge_gate.find_acceptance(run).actor == "olga"


def test_a_person_is_the_account_behind_a_token_and_has_its_names():
    ann = UserFactory(username="Ann", email="Ann@Example.com", groups=["Backend"])
    create_token("anns", ["view"], created_by="Ann", owner=ann)
    call_command("create_token", "ci", "view")
    assert [find_person(one) for one in ("token anns", "token ci", "token x", "bob", "host")] == [
        "Ann",
        "token ci",
        "token x",
        "bob",
        "host",
    ]
    assert list_identities("Ann") == {"@ann", "ann@example.com", "@/backend"}
    assert list_identities("host") == frozenset()
