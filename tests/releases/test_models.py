"""The moves of releases and deployments."""

import pytest

from host.errors import Refused
from releases.deployments import deploy_and_rollback, rollback_plan
from releases.models import Deployment, DeploymentLost, Release
from releases.rules import DeploymentKind, DeploymentOutcome, ReleaseStatus
from tests.releases.production_state import expire_claims, make_release

pytestmark = pytest.mark.django_db


def test_second_running_deployment_is_refused(config, releases):
    deploy_and_rollback.begin_deployment(
        releases[0].pk, kind=DeploymentKind.ROLLBACK, actor="bob", reason="first"
    )
    with pytest.raises(Refused) as refusal:
        deploy_and_rollback.begin_deployment(
            releases[1].pk, kind=DeploymentKind.ROLLBACK, actor="eve", reason="second"
        )
    assert refusal.value.code == "activation_in_progress"
    assert Deployment.objects.running().count() == 1


def test_failed_rollback_keeps_a_healthy_release_as_rollback_target(config, releases):
    old, _, new = releases
    deployment = deploy_and_rollback.begin_deployment(
        old.pk, kind=DeploymentKind.ROLLBACK, actor="bob", reason="x"
    )
    claim = Deployment.objects.running().claim(deployment.number, "test")
    deployment.go_live(claim)
    deployment.fail(claim, DeploymentOutcome.RESTORED, "sick", [])
    old.refresh_from_db()
    assert (old.status, Release.objects.live()) == (ReleaseStatus.RETIRED, new)
    rollback_plan.check_rollback(config, old, accept_schema=False)


def test_move_that_the_rules_do_not_allow_is_refused(config, releases):
    old, _, live = releases
    with pytest.raises(Refused, match="it cannot become built") as refusal:
        old.finish_build(checksum="", migrations=[])
    assert refusal.value.code == "release_move_refused"
    assert Release.objects.live() == live


def test_move_from_an_outdated_status_is_refused_and_changes_nothing(config, releases):
    outdated = Release.objects.get(pk=releases[2].pk)
    Release.objects.get(pk=outdated.pk).retire()
    with pytest.raises(Refused, match="no longer live"):
        outdated.fail("It was sick.")
    assert Release.objects.get(pk=outdated.pk).status == ReleaseStatus.RETIRED


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (DeploymentOutcome.FAILED, ReleaseStatus.FAILED),
        (DeploymentOutcome.STUCK, ReleaseStatus.STUCK),
    ],
)
def test_failed_deployment_of_a_new_release_fails_it(outcome, status, config, releases):
    new = make_release(config, "d")
    deployment = deploy_and_rollback.begin_deployment(
        new.pk, kind=DeploymentKind.DEPLOY, actor="bob", reason="x"
    )
    claim = Deployment.objects.running().claim(deployment.number, "test")
    deployment.start_undo(claim, "sick")
    assert deployment.is_being_undone
    deployment.fail(claim, outcome, "sick", ["look at the log"])
    new.refresh_from_db()
    assert (new.status, new.detail) == (status, "sick")
    assert (deployment.is_over, deployment.is_being_undone) == (True, False)


def test_write_with_a_lost_claim_raises_deployment_lost(config, releases):
    deployment = deploy_and_rollback.begin_deployment(
        releases[0].pk, kind=DeploymentKind.ROLLBACK, actor="bob", reason="x"
    )
    claim = Deployment.objects.running().claim(deployment.number, "first")
    expire_claims()
    Deployment.objects.running().claim(deployment.number, "second")
    with pytest.raises(DeploymentLost):
        deployment.record_progress(claim, "too late")
    assert claim.is_lost
    assert Deployment.objects.get(pk=deployment.pk).progress == ""


def test_latest_switch_before_a_deployment_is_the_one_that_it_replaces(config, releases):
    first, _, live = releases
    deployment = deploy_and_rollback.begin_deployment(
        first.pk, kind=DeploymentKind.ROLLBACK, actor="bob", reason="x"
    )
    claim = Deployment.objects.running().claim(deployment.number, "test")
    deployment.go_live(claim)
    earlier = Deployment.objects.latest_switch_to(first, before=deployment)
    assert Deployment.objects.latest_switch_to(first) == deployment
    assert earlier is not None and earlier.number < deployment.number
    assert Deployment.objects.latest_switch_to(None) is None
    assert deployment.previous == live


def test_schema_changes_that_are_recorded_twice_stand_once(config, releases):
    release = releases[2]
    release.record_schema_changes([{"kind": "adds", "text": "adds table a"}])
    changes = [{"kind": "adds", "text": "adds table a"}, {"kind": "drops", "text": "drops b"}]
    release.record_schema_changes(changes)
    assert release.schema_changes == changes
    assert release.migrated_at is not None
