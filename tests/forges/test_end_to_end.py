"""From a pull request to production and back, on each forge, with a real preview and release."""

from dataclasses import replace

import pytest

from forges import reconciler
from forges.models import LinkedAccount, OutgoingMessage, PullRequest
from runs.lifecycle import execution
from runs.models import Approval, Run
from runs.rules import Status
from slots.models import Lease
from tests.factories import UserFactory
from tests.forges import payloads
from tests.forges.conftest import World
from tests.forges.fake_forge import TOKEN, FakeForge, Pull
from tests.forges.test_reporting import expire_waits, the_comment
from tests.runs.pipelines.shipping.conftest import a_tiny_world, small

__all__ = ["a_tiny_world", "small"]
pytestmark = [pytest.mark.full, pytest.mark.django_db(transaction=True)]
KINDS = ["github", "gitlab", "gitea", "forgejo"]
PREVIEW, GATE, DEPLOY = "oroboros/preview", "oroboros/merge-gate", "oroboros/deploy"


@pytest.fixture
def team(small, kind, settings, tmp_path):
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
    settings.OROBOROS = replace(small.config, environ={**small.config.environ, **environ})
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
    """Do what a queue worker does with the one run, and return it."""
    execution.execute_run(Run.objects.get().pk)
    return Run.objects.get()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pull_request_is_previewed_approved_shipped_and_reported(team, small, kind):
    branch = f"feature/{kind}-{small.commits()}"
    pull = team.forge.add(
        Pull(12, branch, small.commit(branch, {"one.txt": kind}), labels=["preview"])
    )
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
    before = Lease.objects.get().expires_at
    assert team.comment(pull, "/keep 8h").decision == "acted"
    assert Lease.objects.get().expires_at > before

    who = "alice" if kind == "gitlab" else "grace"
    pull.reviews = [(who, "APPROVED", first)]
    assert team.send(*payloads.review(kind, pull)).decision == "ignored"
    pull.reviews = [(who, "APPROVED", pull.sha)]
    assert team.send(*payloads.review(kind, pull)).decision == "acted"
    assert Approval.objects.get().commit_sha == pull.sha
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
