"""A production that was rolled back: what is not live, what it stops, and the ways out."""

from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from host.operator_settings import run_time
from releases.deployments import rollback_plan
from releases.models import Deployment
from runs import merge_queue
from runs.models import Event, Freeze, Run
from runs.repository import open_repository
from runs.rollback_state import read_rollback_state, sync_rollback_freeze
from tests.factories import DeploymentFactory, ReleaseFactory, RunFactory, UserFactory
from tests.runs.commits import make_commit
from web.templatetags.presentation import person

pytestmark = pytest.mark.django_db


class Production:
    """A main branch of three commits, each a release; the newest is live."""

    def __init__(self, config):
        self.config, self.repo = config, open_repository(config)
        commits = []
        for name in ("one", "two", "three"):
            commits.append(make_commit(self.repo, name, *commits[-1:]))
        self.repo.update_ref("refs/heads/main", commits[-1], None)
        self.releases = [ReleaseFactory(commit_sha=commit) for commit in commits]
        self.deploy(0)
        self.deploy(1)
        self.deploy(2)

    def deploy(self, index, *, kind="deploy", previous=None, **fields):
        for release in self.releases:
            type(release).objects.filter(pk=release.pk, status="live").update(status="retired")
        release = self.releases[index]
        deployment = DeploymentFactory(
            release=release,
            kind=kind,
            previous=None if previous is None else self.releases[previous],
            **fields,
        )
        type(release).objects.filter(pk=release.pk).update(
            status="live", activated_at=deployment.started_at
        )
        return deployment

    def roll_back(self, index, previous, reason="the login is broken"):
        return self.deploy(index, kind="rollback", previous=previous, reason=reason)


@pytest.fixture
def production(settings, tmp_path):
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path, git_remote_url="")
    return Production(settings.OROBOROS)


def log_in(group):
    client = Client()
    client.force_login(UserFactory(groups=[group], username="olga"))
    return client


def test_production_is_rolled_back_until_the_newest_release_or_a_new_one_is_live(production):
    config = production.config
    assert read_rollback_state(config) is None
    production.roll_back(1, previous=2)
    assert read_rollback_state(config).commit_count == 1
    last = production.roll_back(0, previous=1)
    state = read_rollback_state(config)
    assert (state.deployment, state.release, state.left_release, state.commit_count) == (
        last,
        *(production.releases[0], production.releases[2]),
        2,
    )
    production.roll_back(2, previous=0, reason="it was not the release")
    assert read_rollback_state(config) is None
    production.roll_back(1, previous=2)
    production.deploy(0)
    assert read_rollback_state(config) is None, "a new deployment is no rollback"


def test_a_rollback_that_failed_changes_nothing(production):
    production.deploy(1, kind="rollback", previous=2, outcome="restored")
    assert read_rollback_state(production.config) is None


def test_a_commit_that_git_does_not_know_is_rolled_back_by_an_unknown_number(production):
    type(production.releases[1]).objects.filter(pk=production.releases[1].pk).update(
        commit_sha="f" * 40
    )
    production.roll_back(1, previous=2)
    state = read_rollback_state(production.config)
    assert state.describe_missing("main").startswith("It is not known")


def test_the_rollback_target_is_never_the_release_that_was_left(production):
    one, two, _ = production.releases
    assert rollback_plan.find_rollback_target() == two
    production.roll_back(1, previous=2)
    assert rollback_plan.find_rollback_target() == one
    production.roll_back(2, previous=1)
    assert rollback_plan.find_rollback_target() == two


def test_a_rollback_freezes_shipping_once_and_names_itself(production):
    config = production.config
    run = RunFactory(status="approved", approved_at="2026-01-01T00:00Z")
    production.roll_back(1, previous=2)
    claim = Run.objects.claim(run.pk, "worker")
    assert not merge_queue.begin_shipping(config, run, claim)
    [freeze] = Freeze.objects.all()
    release = production.releases[1]
    assert freeze.reason == (
        f"Rollback of production to {release}: the login is broken.\n1 commit of main is not live."
    )
    assert (freeze.actor, freeze.rollback) == ("bob", Deployment.objects.first())
    assert Event.objects.filter(kind="frozen").count() == 1
    merge_queue.unfreeze_shipping(config, actor="ada", reason="ship on")
    assert merge_queue.begin_shipping(config, run, claim), "a lifted freeze does not return"


def test_the_freeze_ends_when_production_is_not_rolled_back_any_more(production):
    production.roll_back(1, previous=2)
    assert not sync_rollback_freeze(production.config)
    production.roll_back(2, previous=1)
    assert merge_queue.sync_rollback_freeze(production.config) != []
    assert Freeze.objects.get().lifted_at is not None
    assert merge_queue.sync_rollback_freeze(production.config) == []


def test_a_rollback_does_not_freeze_where_that_is_switched_off(production):
    environ = {**production.config.environ, "ROLLBACK_FREEZES": "false"}
    production.roll_back(1, previous=2)
    sync_rollback_freeze(replace(production.config, environ=environ))
    assert not Freeze.objects.exists()


def test_operators_switch_the_freeze_off_and_on_at_run_time(production):
    config = production.config
    run_time.write_value(config, run_time.FREEZE_AFTER_ROLLBACK, "false")
    production.roll_back(1, previous=2)
    sync_rollback_freeze(config)
    assert not Freeze.objects.exists()
    run_time.write_value(config, run_time.FREEZE_AFTER_ROLLBACK, "true")
    sync_rollback_freeze(config)
    assert Freeze.objects.get().lifted_at is None
    run_time.write_value(config, run_time.FREEZE_AFTER_ROLLBACK, "false")
    assert sync_rollback_freeze(config)
    assert Freeze.objects.get().lifted_at is not None


def test_the_dashboard_says_how_far_production_is_behind_without_a_rollback(production):
    viewer = log_in("viewer")
    for title, text in (
        ("four", "1 commit of main is not live."),
        ("five", "2 commits of main are not live."),
    ):
        head = production.repo.resolve_ref("refs/heads/main")
        commit = make_commit(production.repo, title, head)
        production.repo.update_ref("refs/heads/main", commit, head)
        page = viewer.get("/admin/").content.decode()
        assert (text, text in page, "rolled back" in page) == (text, True, False)


def test_the_dashboard_has_the_rollback_its_reason_and_the_choices(production):
    page = log_in("viewer").get("/admin/").content.decode()
    assert ("rolled back" in page, "All commits of main are live." in page) == (False, True)
    production.roll_back(1, previous=2)
    sync_rollback_freeze(production.config)
    left = reverse("admin:releases_release_rollback", args=[production.releases[2].pk])
    revert, unfreeze = reverse("admin:runs_run_revert"), reverse("admin:runs_run_unfreeze")
    by_bob = f"by {person('bob')}"
    for group, choices in (("viewer", []), ("operator", [revert, left, unfreeze])):
        User.objects.all().delete()
        page = log_in(group).get("/admin/").content.decode()
        for text in ("the login is broken", "1 commit of main is not live.", by_bob):
            assert (text, text in page) == (text, True)
        shown = [url for url in (revert, left, unfreeze) if f'href="{url}"' in page]
        assert shown == choices
        assert "Roll back to" not in page


def test_the_api_tells_the_rollback(production):
    client = log_in("operator")
    assert client.get("/api/shipping/rollback").json() == {"rolled_back": None}
    deployment = production.roll_back(1, previous=2)
    found = client.get("/api/shipping/rollback").json()["rolled_back"]
    assert found.pop("since") is not None
    assert found == {
        "deployment": deployment.pk,
        "release_id": production.releases[1].pk,
        "left_release_id": production.releases[2].pk,
        "actor": "bob",
        "reason": "the login is broken",
        "commit_count": 1,
    }


def test_a_revert_is_prepared_once_and_may_ship_during_the_freeze(production, slots):
    config, client = production.config, log_in("approver")
    page = client.post(reverse("admin:runs_run_revert"))
    assert (page.status_code, b"not behind" in page.content) == (409, True)
    production.roll_back(0, previous=2)
    sync_rollback_freeze(config)
    answer = client.post(reverse("admin:runs_run_revert"))
    run = Run.objects.get()
    assert answer["Location"] == reverse("admin:runs_run_change", args=[run.pk])
    assert run.title == f"Revert main to {production.releases[0].commit_sha[:12]}"
    repo = production.repo
    assert repo.get_tree_id(run.commit_sha) == repo.get_tree_id(production.releases[0].commit_sha)
    assert repo.is_ancestor(production.releases[2].commit_sha, run.commit_sha)
    client.post(reverse("admin:runs_run_revert"))
    assert Run.objects.get() == run, "asking again leads to the open run"
    other = RunFactory(status="approved", approved_at="2026-01-01T00:00Z")
    Run.objects.filter(pk=run.pk).update(status="approved", approved_at="2026-01-02T00:00Z")
    assert merge_queue.get_next_run(config) == run
    assert not merge_queue.is_next(config, other)
