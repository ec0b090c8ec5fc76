"""A SIGKILL anywhere in a deploy or a rollback ends in the same state, with one live release."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection

from core.clock import ClockTimestamp
from host.units import managers
from releases.deployments import operations, reconciler
from releases.deployments.manual_deploy import ship_commit
from releases.models import Activation, Release
from releases.production import app, current_link
from releases.rules import ActivationOutcome, ReleaseStatus
from tests.releases import child

pytestmark = pytest.mark.django_db(transaction=True)

BUILD = [
    "releases.models:ReleaseQuerySet.start",
    "host.git.bare_repository:Repository.lay_out",
    "host.app.installs:make_all",
    "host.files.publish:copy_public",
    "releases.builds.build_manifest:close",
    "releases.models:Release.move",
]
SWITCH = [
    "releases.models:ActivationQuerySet.claim",
    "releases.production.database:_restore_point",
    "releases.production.database:_release",
    "releases.production.database:migrate",
    "releases.production.app:start_colour",
    "releases.production.current_link:write",
    "releases.production.current_link:switch",
    "releases.models:Activation.go_live",
    "releases.production.health_gate:reload",
    "releases.production.health_gate:watch",
    "releases.models:Activation.succeed",
    "releases.production.app:stop_others",
]
WHEN = ["before", "after"]


def environment():
    """What a process of its own needs to work on the test's database."""
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{connection.settings_dict['NAME']}"
    return {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "oroboros.settings"}


def run_and_die(point, when, verb, argument):
    ended = subprocess.run(
        [sys.executable, "-m", "tests.releases.child", point, when, verb, argument],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def let_claims_run_out():
    """What 30 s do, without waiting for them."""
    past = ClockTimestamp() - timedelta(seconds=60)
    running = Activation.objects.running()
    running.update(started_at=past)
    running.filter(claim_expires_at__isnull=False).update(claim_expires_at=past)


def assert_all_agrees(config, release, web):
    """One live release; row, link, colour and answer say the same; nothing else runs."""
    assert list(Release.objects.filter(status=ReleaseStatus.LIVE)) == [release]
    assert not Activation.objects.running().exists()
    now = current_link.read(config)
    assert now.commit == release.commit_sha
    assert Activation.objects.get(pk=now.number).release == release
    assert web.get()[1] == release.commit_sha
    assert release.commit_sha in web.get("/api/version")[2]
    colour = app.live_colour(config)
    assert managers.manager(config).names() == [app.unit_name(colour)]


@pytest.mark.full
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", BUILD + SWITCH)
def test_a_pipeline_killed_anywhere_ends_the_same(point, when, config, repo, web):
    pipeline_killed(point, when, config, repo, web)


@pytest.mark.parametrize(
    ("point", "when"),
    [
        ("releases.builds.build_manifest:close", "before"),
        ("releases.production.database:_release", "after"),
        ("releases.production.current_link:switch", "after"),
        ("releases.production.health_gate:watch", "before"),
    ],
)
def test_a_pipeline_killed_at_a_seam_ends_the_same(point, when, config, repo, web):
    pipeline_killed(point, when, config, repo, web)


def pipeline_killed(point, when, config, repo, web):
    ship_commit(config, repo.commit("one"), actor="ann", reason="first")
    notes = "CREATE TABLE IF NOT EXISTS more (id int);\n"
    commit = repo.commit("two", **{"backend/migrations/0002_more.sql": notes})
    run_and_die(point, when, "ship", commit)
    assert web.get()[0] == 200  # the old or the new, never nothing
    let_claims_run_out()
    child.ship(config, commit)
    assert_all_agrees(config, Release.objects.get(commit_sha=commit), web)
    assert Activation.objects.count() == 2
    assert len(list((config.var / "releases").glob("r-*"))) == 2


@pytest.mark.parametrize(
    ("point", "when"),
    [
        ("releases.production.current_link:switch", "before"),
        ("releases.production.current_link:switch", "after"),
    ],
)
def test_the_reconciler_finishes_a_rollback_that_was_killed(point, when, config, repo, web):
    first, _ = ship_commit(config, repo.commit("one"), actor="ann", reason="first")
    ship_commit(config, repo.commit("two"), actor="ann", reason="second")
    run_and_die(point, when, "rollback", first.pk)
    assert "was interrupted" not in " ".join(
        reconciler.reconcile(config)
    )  # it may still be at work
    let_claims_run_out()
    assert "was interrupted" in reconciler.reconcile(config, dry_run=True)[0]
    reconciler.reconcile(config)
    assert_all_agrees(config, first, web)
    assert reconciler.reconcile(config) == []


def test_what_kills_each_of_its_processes_is_undone(config, repo, web):
    first, _ = ship_commit(config, repo.commit("one"), actor="ann", reason="first")
    second, _ = ship_commit(config, repo.commit("two"), actor="ann", reason="second")
    for _ in range(4):
        if Activation.objects.running().exists():
            Activation.objects.running().update(attempts=4)
        else:
            run_and_die("releases.production.app:start_colour", "before", "rollback", first.pk)
        let_claims_run_out()
    reconciler.reconcile(config)
    assert Activation.objects.first().outcome == ActivationOutcome.FAILED
    assert_all_agrees(config, second, web)
    with pytest.raises(operations.ActivationFailed):
        operations.confirm(config, Activation.objects.first())
