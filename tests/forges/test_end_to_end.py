"""From a pull request to production and back, on each forge, with a real preview and release."""

import os
import re
from dataclasses import replace

import pytest

from forges import reconciler
from forges.models import LinkedAccount, OutgoingMessage, PullRequest
from host.postgres import client_programs
from runs.lifecycle import execution
from runs.models import Approval, Run
from runs.rules import Status
from slots.models import Lease
from tests.environment import free_port
from tests.factories import UserFactory
from tests.forges import payloads
from tests.forges.conftest import World
from tests.forges.fake_forge import TOKEN, FakeForge, Pull
from tests.forges.test_reporting import expire_waits, the_comment
from tests.runs.mail.test_sink import serving
from tests.runs.pipelines.shipping import tiny
from tests.runs.pipelines.shipping.conftest import a_tiny_world, ready_small, ships, small
from tests.runs.pipelines.shipping.test_screenshots import take

__all__ = ["a_tiny_world", "ready_small", "ships", "small"]
pytestmark = [pytest.mark.full, pytest.mark.django_db(transaction=True)]
KINDS = ["github", "gitlab", "gitea", "forgejo"]
PREVIEW, GATE, DEPLOY = "oroboros/preview", "oroboros/merge-gate", "oroboros/deploy"

# Its branch changes the schema and sends mail; production has no variables of a mail server.
RELEASE = """
import smtplib
import subprocess
from email.message import EmailMessage

argv = [PROGRAM, "-qX", "-v", "ON_ERROR_STOP=1", "-d", os.environ["DATABASE_URL"], "-c", SQL]
subprocess.run(argv, check=True)
if MAILS and "SMTP_PORT" in os.environ:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "Hello"
    with smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"])) as client:
        client.send_message(message)
"""


def write_release(sql, mails):
    """Return the files of an application that runs the statement and sends `mails` messages."""
    program = client_programs.find_pg_dumps()[0].with_name("psql")
    values = {"PROGRAM": str(program), "SQL": sql, "MAILS": mails}
    text = re.sub("PROGRAM|SQL|MAILS", lambda found: repr(values[found[0]]), RELEASE)
    return {"release.py": tiny.RELEASE + text}


@pytest.fixture
def sink(small, settings):
    """The SMTP sink of the host's slots, on ports of its own."""
    slots = tuple(replace(slot, mail_port=free_port()) for slot in small.config.slots)
    settings.OROBOROS = replace(small.config, slots=slots, discard_port=free_port())
    with serving(settings.OROBOROS):
        yield


@pytest.fixture
def team(small, sink, kind, settings, tmp_path):
    """A host with a forge, which merges, and whose pull requests the team approves by reviews."""
    forge = FakeForge(kind)
    for name, value in (("token", TOKEN), ("secret", payloads.SECRET)):
        (tmp_path / name).write_text(f"{value}\n")
    environ = {
        "FORGE": kind,
        "FORGE_URL": forge.url,
        "FORGE_REPOSITORY": payloads.REPOSITORY,
        "FORGE_WEBHOOK_SECRET_FILE": str(tmp_path / "secret"),
        "FORGE_TOKEN_FILE": str(tmp_path / "token"),
        "FORGE_DEPLOYMENTS": "true" if kind in ("github", "gitlab") else "",
        "APPROVE_BY_REVIEW": "true",
        "SHIP_THROUGH": "pull-request",
    }
    config = settings.OROBOROS
    settings.OROBOROS = replace(config, environ={**config.environ, **environ})
    user = UserFactory(username="grace", groups=["approver"])
    forge.writers.add("grace")
    for login in ("grace", "alice"):
        LinkedAccount.objects.create(forge=kind, login=login, user=user)

    def merge(pull):
        small.git("fetch", "-q", "origin", cwd=small.clone)
        small.git("checkout", "-q", "-B", "forge", "origin/main", cwd=small.clone)
        small.git(
            "merge", "-q", "--no-ff", "-m", f"Merge #{pull.number}", pull.sha, cwd=small.clone
        )
        small.git("push", "-q", "origin", "forge:main", cwd=small.clone)
        return small.remote_main()

    forge.on_merge = merge
    yield World(settings, forge, None)
    forge.close()


def execute():
    """Do what a queue worker does with the unfinished run, and return it."""
    run = Run.objects.unfinished().get()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    return run


@pytest.fixture
def live(small, sink, ships, kind):
    """A live release, whose schema has a table that the branch drops."""
    files = write_release(f"CREATE TABLE IF NOT EXISTS old_{kind} (id int)", 0)
    assert ships("first", files).status == Status.MERGED


def check_shown(team, run, pull, kind):
    """Take the pictures, and look for all that the comment must show of the run's present commit.

    Chromium has a user of its own, so only root takes pictures.
    """
    url = rf"http[^)\s]+/runs/run/{run.pk}/change/"
    changed = rf"Up to [^\n]+ % of a page's pixels changed: \[screenshots\]\({url}\)"
    team.report()
    assert not re.search(changed, the_comment(pull))
    if is_root := os.geteuid() == 0:
        row = take(run)
        assert (row.status, row.detail) == ("taken", "")
        team.report()
    text = the_comment(pull)
    assert bool(re.search(changed, text)) == is_root
    assert re.search(rf"has sent \[1 mail\]\({url}\), none of them delivered\.", text)
    assert re.search(rf"does not undo\*\*\n\n- `[^`\n]*old_{kind}", text)
    assert re.search(rf"\*\*Schema changes\*\*\n\n- `[^`\n]*new_{kind}", text)


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_a_pull_request_is_previewed_approved_shipped_and_reported(live, team, small, kind):
    branch = f"feature/{kind}-{small.commits()}"
    sql = f"DROP TABLE IF EXISTS old_{kind}; CREATE TABLE IF NOT EXISTS new_{kind} (id int)"
    sha = small.commit(branch, write_release(sql, 1))
    pull = team.forge.add(Pull(12, branch, sha, labels=["preview"]))
    assert team.deliver(pull).decision == "acted"
    team.report()
    assert team.forge.latest_statuses(pull.sha) == {PREVIEW: "pending"}
    [comment_id] = pull.comments
    # The forge is down for an hour while the preview becomes ready.
    team.forge.is_down = True
    run = execute()
    assert run.status == Status.PREVIEW_READY, (run.failure_code, run.failure_detail)
    for _ in range(4):
        team.report()
        expire_waits()
    team.forge.is_down = False
    team.report()
    assert team.forge.latest_statuses(pull.sha) == {PREVIEW: "success"}
    assert "Open the preview" in the_comment(pull)

    first = pull.sha
    pull.later(1, sha=small.commit(branch, {"two.txt": kind}))
    assert team.deliver(pull, "synchronize").decision == "acted"
    assert execute().pk == run.pk
    team.report()
    assert team.forge.latest_statuses(pull.sha) == {PREVIEW: "success"}
    assert pull.sha[:12] in the_comment(pull)
    check_shown(team, run, pull, kind)
    before = Lease.objects.get(run=run).expires_at
    assert team.comment(pull, "/keep 8h").decision == "acted"
    assert Lease.objects.get(run=run).expires_at > before

    who = "alice" if kind == "gitlab" else "grace"
    pull.reviews = [(who, "APPROVED", first)]
    assert team.send(*payloads.review(kind, pull)).decision == "ignored"
    pull.reviews = [(who, "APPROVED", pull.sha)]
    assert team.send(*payloads.review(kind, pull)).decision == "acted"
    assert Approval.objects.get(run=run).commit_sha == pull.sha
    team.report()
    assert team.forge.latest_statuses(pull.sha)[GATE] == "pending"

    ended = execute()
    assert ended.status == Status.MERGED, (ended.failure_code, ended.failure_detail)
    assert (pull.state, pull.merge_commit) == ("merged", small.remote_main())
    team.deliver(pull.later(2), "closed")
    team.report()
    assert team.forge.latest_statuses(pull.sha) == dict.fromkeys((PREVIEW, GATE, DEPLOY), "success")
    assert list(pull.comments) == [comment_id]
    assert "The release is live." in the_comment(pull)
    if kind in ("github", "gitlab"):
        deployed = {
            (one["environment"], one["sha"]): one["state"]
            for one in team.forge.deployments.values()
        }
        assert deployed["production", pull.merge_commit] == "success"
        assert deployed["preview/pr-12", pull.sha] in ("inactive", "success")
    assert not OutgoingMessage.objects.waiting().exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_pull_request_and_a_fork_leave_no_preview(team, small, kind):
    branch = f"feature/{kind}-{small.commits()}"
    sha = small.commit(branch, {"three.txt": kind})
    pull = team.forge.add(Pull(12, branch, sha, labels=["preview"]))
    team.deliver(pull)
    assert execute().status == Status.PREVIEW_READY
    team.deliver(pull.later(1, state="closed"), "closed")
    assert Run.objects.get().status == Status.CANCELED
    assert not Lease.objects.filter(state="held").exists()
    # A fork's head lies under the forge's ref only; it runs once an operator allows it.
    fork = team.forge.add(Pull(13, "main", sha, labels=["preview"], is_fork=True))
    head = {"gitlab": "merge-requests/13/head"}.get(kind, "pull/13/head")
    small.git("update-ref", f"refs/{head}", sha, cwd=small.remote)
    assert "operator must allow" in team.deliver(fork).reason
    assert Run.objects.count() == 1
    assert PullRequest.objects.get(number=13).allow(sha, by="olga")
    team.process()
    run = Run.objects.exclude(status=Status.CANCELED).get()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.commit_sha) == (Status.PREVIEW_READY, sha)
    # Its closing is not delivered.
    fork.later(2, state="closed")
    reconciler.reconcile(team.config)
    team.process()
    assert not Run.objects.unfinished().exists()
