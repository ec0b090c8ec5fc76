"""The API of releases, and their management commands."""

import pytest
from rest_framework.test import APIRequestFactory, force_authenticate

from releases import api
from releases.models import Deployment, Release
from tests.releases.production_state import (
    OPERATOR,
    post_rollback,
    read_state,
)

pytestmark = pytest.mark.django_db


def test_rollback_by_the_api_is_enqueued_and_returns_202(config, releases):
    from django_q.models import OrmQ

    response = post_rollback(config, releases[0].pk, accept_schema=False)
    assert response.status_code == 202
    deployment = Deployment.objects.running().get()
    assert response.data["activation"]["number"] == deployment.number
    assert (deployment.actor, deployment.reason) == ("ann", "a test")
    assert OrmQ.objects.count() == 1
    assert Release.objects.live() == releases[2]


@pytest.mark.parametrize(
    "body", [{"reason": ""}, {"reason": None}, {"reason": 1}, {"accept_schema": "yes"}, {"x": 1}]
)
def test_rollback_without_a_reason_or_with_an_unknown_field_returns_400(body, config, releases):
    before = read_state(config)
    assert post_rollback(config, releases[0].pk, **body).status_code == 400
    assert read_state(config) == before


def test_release_has_its_deployments_and_its_rollback_plan(config, releases):
    request = APIRequestFactory().get("/")
    force_authenticate(request, user=OPERATOR)
    answer = api.ReleaseView.as_view()(request, release_id=releases[0].pk).data
    assert (answer["release_id"], answer["status"]) == (releases[0].pk, "retired")
    assert [one["outcome"] for one in answer["activations"]] == ["succeeded"]
    assert answer["rollback"]["command"] == f"./scripts/rollback.sh {releases[0].pk}"
    listed = api.ReleasesView.as_view()(request).data
    assert [one["status"] for one in listed["results"]] == ["live", "retired", "retired"]
