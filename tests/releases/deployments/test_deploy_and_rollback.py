"""Deploys and rollbacks with real processes, a real Caddy and a real PostgreSQL."""

import json
import subprocess
import sys

import pytest

from releases.deployments import deploy_and_rollback
from releases.models import Deployment, Release
from releases.production import current_link
from releases.rules import DeploymentOutcome, ReleaseStatus
from tests.releases.production_state import (
    assert_consistent,
    deploy,
    subprocess_environment,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_deployed_commit_serves_page_api_and_header(config, repo, web):
    commit = repo.commit("one")
    assert web.get()[0] == 503
    release = deploy(config, commit)
    assert release.status == ReleaseStatus.LIVE and release.was_healthy
    status, shown, page = web.get()
    assert (status, shown) == (200, commit) and "<title>one</title>" in page
    status, shown, body = web.get("/api/version")
    assert (status, shown, json.loads(body)) == (200, commit, {"version": "one", "commit": commit})


def test_second_deploy_retires_the_first_and_a_rollback_restores_it(config, repo, web):
    first = deploy(config, repo.commit("one"))
    second = deploy(config, repo.commit("two"))
    first.refresh_from_db()
    assert (first.status, second.status) == (ReleaseStatus.RETIRED, ReleaseStatus.LIVE)
    assert "two" in web.get()[2]
    deployment = deploy_and_rollback.roll_back(
        config, first.pk, actor="bob", reason="it was better"
    )
    assert (deployment.outcome, deployment.actor) == (DeploymentOutcome.SUCCEEDED, "bob")
    assert web.get()[1] == first.commit_sha
    assert json.loads(web.get("/api/version")[2])["version"] == "one"
    assert [r.pk for r in Release.objects.filter(status=ReleaseStatus.LIVE)] == [first.pk]
    assert current_link.read(config).number == deployment.number


def test_only_built_assets_of_the_previous_release_are_served_for_a_time(config, repo, web):
    names = ("/app-0000000a.js", "/salaries.csv", "/photo-1a2b3c4d.png", "/kept-1a2b3c4d.png")
    repo.build_frontend(**{name[1:]: "text" for name in names[1:]})

    def list_served():
        return [name for name in names if web.get(name)[0] == 200]

    first = deploy(config, repo.commit("0000000a"))
    assert list_served() == list(names)
    # Both are deleted from the sources, the photograph with a hash in its name.
    gone = {"public/salaries.csv": None, "public/photo-1a2b3c4d.png": None}
    second = deploy(config, repo.commit("0000000b", **gone))
    assert list_served() == ["/app-0000000a.js", "/kept-1a2b3c4d.png"]
    until = current_link.read(config).previous_until
    assert 3500 < until - Deployment.objects.first().switched_at.timestamp() <= 3600
    deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="a test")
    assert list_served() == list(names)
    assert web.get("/app-0000000b.js")[0] == 404
    deploy_and_rollback.roll_back(config, second.pk, actor="bob", reason="a test")
    assert list_served() == ["/kept-1a2b3c4d.png"]
    config.environ["DEPLOY_PREVIOUS_ASSETS_SECONDS"] = "0"
    deploy(config, repo.commit("0000000c"))
    assert web.get("/app-0000000b.js")[0] == 404


def test_change_of_the_frontend_only_skips_reload_and_health_gate(config, repo, web):
    deploy(config, repo.commit("one"))
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = "false"
    release = deploy(config, repo.commit("one", **{"site/new.html": "new"}))
    assert Deployment.objects.first().is_gated is False
    assert (release.status, web.get("/new.html")[2]) == (ReleaseStatus.LIVE, "new")


def test_one_of_two_concurrent_rollbacks_is_refused(config, repo, web, two_releases):
    third = deploy(config, repo.commit("three"))
    long = subprocess_environment() | {
        "DEPLOY_HEALTH_SECONDS": "8"
    }  # so that they are at work together
    children = [
        subprocess.Popen(
            [sys.executable, "manage.py", "rollback", release.pk, "--reason", "a race"],
            env=long,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for release in two_releases
    ]
    answers = [json.loads(child.communicate(timeout=180)[0]) for child in children]
    [winner] = [answer for answer in answers if answer["ok"]]
    [loser] = [answer for answer in answers if not answer["ok"]]
    assert loser["error"] == "activation_in_progress"
    assert winner["from_release_id"] == third.pk
    assert_consistent(config, Release.objects.get(pk=winner["release_id"]), web)
