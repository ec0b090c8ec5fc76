"""Pushing the target branch from the shell, the API and the admin."""

import json
import subprocess
from dataclasses import replace
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import reverse

from host.config import load
from host.errors import Refused
from runs.lifecycle.pushing import push_target_branch
from runs.models import Event
from runs.repository import open_repository
from tests.factories import RunFactory
from tests.runs.conftest import Caller
from tests.runs.lifecycle import https_remote

pytestmark = pytest.mark.django_db
GIT = ("git", "-c", "user.name=Alice", "-c", "user.email=alice@example.com")
ENDPOINT = "/api/shipping/push"


@pytest.fixture
def remote(tmp_path, settings):
    """A bare remote with one commit on main; our main has one more that is not pushed."""
    folder, work = tmp_path / "remote.git", tmp_path / "work"

    def git(*arguments, cwd=work):
        done = subprocess.run([*GIT, *arguments], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    git("init", "-q", "--initial-branch=main", str(work), cwd=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "first")
    git("clone", "-q", "--bare", str(work), str(folder), cwd=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "merged here")
    environ = {
        "GIT_LOCAL_ROOTS": str(tmp_path),
        "GIT_REMOTE_URL": str(folder),
        "OROBOROS_VAR": str(tmp_path / "var"),
    }
    loaded = load(environ)
    settings.OROBOROS = replace(
        settings.OROBOROS,
        var=loaded.var,
        git_remote_url=loaded.git_remote_url,
        git_local_roots=loaded.git_local_roots,
        environ=environ,
    )
    (loaded.var / "log").mkdir(parents=True)
    repo = open_repository(settings.OROBOROS)
    repo.fetch_ref(str(work), "heads/main")
    ours = git("rev-parse", "main")
    repo.update_ref("refs/heads/main", ours, None)
    RunFactory(status="merged", pushed=False, candidate_sha=ours, title="waits for its push")
    return lambda: git("rev-parse", "main", cwd=folder)


def test_the_command_pushes_our_branch_once_and_a_dry_run_changes_nothing(remote):
    def push(*options):
        out = StringIO()
        call_command("push", *options, stdout=out, stderr=StringIO())
        return json.loads(out.getvalue())

    before = remote()
    tried = push("--dry-run")
    assert (tried["ok"], tried["dry_run"], remote()) == (True, True, before)
    pushed = push()
    assert (remote(), pushed["already_there"]) == (pushed["commit_sha"], False)
    assert push()["already_there"] is True
    kinds = list(Event.objects.order_by("pk").values_list("kind", flat=True))
    assert kinds == ["pushed_by_hand", "pushed_by_hand", "pushed"]


def test_operators_push_from_the_api_and_others_do_not(remote):
    before = remote()
    refused = Caller("ci", "view", "hold").post(ENDPOINT)
    assert (refused.status_code, remote()) == (403, before)
    answer = Caller("op", "view", "operate").post(ENDPOINT).json()
    assert (answer["commit_sha"], answer["branch"]) == (remote(), "main")


def test_operators_push_from_the_dashboard(remote, admin_client):
    before, address = remote(), reverse("admin:runs_run_push")
    # "Needs you" leads there too; the button is beside the commits that are not pushed.
    assert f'href="{address}">Push now</a>' in admin_client.get("/admin/").content.decode()
    admin_client.post(address, {"dry_run": "on"})
    assert remote() == before
    admin_client.post(address)
    assert remote() != before
    assert address not in admin_client.get("/admin/").content.decode()


def test_a_refused_push_names_the_cause_and_a_commit_is_only_tried(remote, settings, tmp_path):
    hook = tmp_path / "remote.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'only on Mondays' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Refused, match=r"remote: only on Mondays.*remote's settings") as refused:
        push_target_branch(settings.OROBOROS, actor="olga")
    assert refused.value.code == "push_failed"
    with pytest.raises(Refused, match="--dry-run"):
        push_target_branch(settings.OROBOROS, actor="olga", commit="a" * 40)


def test_a_push_over_https_uses_the_credentials_file_and_the_hosts_authority(
    remote, settings, tmp_path
):
    subprocess.run(
        ["git", "-C", tmp_path / "remote.git", "config", "http.receivepack", "true"], check=True
    )
    before = remote()
    with https_remote.serve(tmp_path, tmp_path) as (address, certificate):
        credentials = tmp_path / "git-credentials"
        user, host = https_remote.USER, address.removeprefix("https://")
        credentials.write_text(f"https://{user}:wrong@{host}\n")
        environ = {
            "OROBOROS_VAR": str(settings.OROBOROS.var),
            "GIT_REMOTE_URL": f"{address}/remote.git",
            "GIT_CREDENTIALS_FILE": str(credentials),
            "SSL_CERT_FILE": str(certificate),
            "NO_PROXY": "localhost",
        }
        settings.OROBOROS = replace(
            settings.OROBOROS, git_remote_url=environ["GIT_REMOTE_URL"], environ=environ
        )
        with pytest.raises(Refused, match="GIT_CREDENTIALS_FILE"):
            push_target_branch(settings.OROBOROS, actor="host")
        assert remote() == before
        # git erases what was refused, and stores what was accepted, unless the helper refuses both.
        assert credentials.read_text() == f"https://{user}:wrong@{host}\n"
        right = f"# of the host\nhttps://{user}:{https_remote.PASSWORD}@{host}\n"
        credentials.write_text(right)
        push_target_branch(settings.OROBOROS, actor="host")
        assert credentials.read_text() == right
        assert "lock" not in (settings.OROBOROS.var / "log" / "push.log").read_text()
    assert remote() != before
