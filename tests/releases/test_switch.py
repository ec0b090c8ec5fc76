"""Deploys and rollbacks on real processes, a real Caddy and a real PostgreSQL."""

import json

import pytest

from releases.deployments import operations
from releases.deployments.manual_deploy import ship_commit
from releases.models import Activation, Release
from releases.production import app, current_link
from releases.rules import ActivationOutcome, ReleaseStatus

pytestmark = pytest.mark.django_db(transaction=True)


def ship(config, commit):
    release, _ = ship_commit(config, commit, actor="ann", reason="a test")
    return release


def test_a_commit_is_built_and_serves_page_api_and_header_alike(config, repo, web):
    commit = repo.commit("one")
    assert web.get()[0] == 503
    release = ship(config, commit)
    assert release.status == ReleaseStatus.LIVE and release.was_healthy
    status, shown, page = web.get()
    assert (status, shown) == (200, commit) and "<title>one</title>" in page
    status, shown, body = web.get("/api/version")
    assert (status, shown, json.loads(body)) == (200, commit, {"version": "one", "commit": commit})


def test_a_second_deploy_retires_the_first_and_a_rollback_brings_it_back(config, repo, web):
    first = ship(config, repo.commit("one"))
    second = ship(config, repo.commit("two"))
    first.refresh_from_db()
    assert (first.status, second.status) == (ReleaseStatus.RETIRED, ReleaseStatus.LIVE)
    assert "two" in web.get()[2]
    activation = operations.rollback(config, first.pk, actor="bob", reason="it was better")
    assert (activation.outcome, activation.actor) == (ActivationOutcome.SUCCEEDED, "bob")
    assert web.get()[1] == first.commit_sha
    assert json.loads(web.get("/api/version")[2])["version"] == "one"
    assert [r.pk for r in Release.objects.filter(status=ReleaseStatus.LIVE)] == [first.pk]
    assert current_link.read(config).number == activation.number


def test_a_page_opened_before_a_deploy_still_gets_its_assets(config, repo, web):
    ship(config, repo.commit("one"))
    ship(config, repo.commit("two"))
    assert web.get("/app-one.js")[2] == "/* one */"


def test_a_release_that_never_becomes_healthy_is_not_switched_to(config, repo, web):
    first = ship(config, repo.commit("one"))
    sick = repo.commit("two", **{"backend/health": "sick"})
    config.environ["DEPLOY_START_SECONDS"] = "1"
    with pytest.raises(operations.ActivationFailed) as failed:
        ship(config, sick)
    assert "Nothing was switched" in failed.value.detail
    assert any("deploy.sh" in line for line in failed.value.guidance)
    assert web.get()[1] == first.commit_sha
    release = Release.objects.get(commit_sha=sick)
    assert release.status == ReleaseStatus.FAILED
    assert app.live_colour(config) == "blue"


def test_a_release_that_sickens_after_the_switch_is_taken_back(config, repo, web):
    first = ship(config, repo.commit("one"))
    config.environ["DEPLOY_HEALTH_SECONDS"] = "8"
    with pytest.raises(operations.ActivationFailed, match="is live again"):
        ship(config, repo.commit("two", **{"backend/health": "sick after 1.5"}))
    assert web.get()[1] == first.commit_sha
    assert Activation.objects.first().outcome == ActivationOutcome.RESTORED
    first.refresh_from_db()
    assert first.status == ReleaseStatus.LIVE
