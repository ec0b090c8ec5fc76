"""Deployments whose process died or failed again and again: what the next claim does."""

import pytest

from core import claims
from core.claims import MAX_ATTEMPTS
from releases.deployments import deploy_and_rollback, deployment_steps
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Deployment, DeploymentLost, Release
from releases.production import colours, current_link, health_gate
from releases.production.colours import Unhealthy
from releases.rules import DeploymentOutcome, ReleaseStatus
from tests.factories import DeploymentFactory, ReleaseFactory
from tests.releases.production_state import expire_claims

pytestmark = pytest.mark.django_db


@pytest.fixture
def rollback(config, releases, monkeypatch):
    """A rollback from the third release to the first, which has just begun. No surface runs."""
    monkeypatch.setattr(health_gate, "check_health", lambda context, deployment: None)
    # The thread that renews has a connection of its own, which does not see the test's rows.
    monkeypatch.setattr(claims, "RENEW_SECONDS", 3600.0)
    return deploy_and_rollback.begin_deployment(
        releases[0].pk, kind="rollback", actor="bob", reason="a test", is_gated=False
    )


def switch(config, deployment):
    """Switch to the release, as a process does that dies before the health gate."""
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.switch_to_release(context)
    assert current_link.read(config).number == deployment.number


def die(deployment, number=1):
    """Claim the deployment as a process does that then dies, `number` times."""
    for _ in range(number):
        claim = Deployment.objects.running().claim(deployment.number, "a process that died")
        assert claim is not None
        expire_claims()


def complete(config, deployment):
    """Complete the deployment; returns its outcome."""
    deployment = Deployment.objects.get(pk=deployment.pk)
    try:
        return deploy_and_rollback.complete_deployment(config, deployment, wait=0).outcome
    except DeploymentFailed as failed:
        return failed.deployment.outcome


def assert_live(config, release):
    """Check that the release is the live one, by its row and by the current link."""
    assert Release.objects.live() == release
    live = current_link.read(config)
    assert (live.commit, Deployment.objects.get(pk=live.number).release) == (
        release.commit_sha,
        release,
    )


@pytest.mark.parametrize("is_switched_back", [False, True])
def test_undo_that_was_killed_after_the_switch_is_continued(
    config, releases, rollback, is_switched_back
):
    before = current_link.read(config).number
    switch(config, rollback)
    claim = Deployment.objects.running().claim(rollback.number, "a process that died")
    rollback.start_undo(claim, "the health gate failed")
    if is_switched_back:
        current_link.switch(config, before)
    expire_claims()
    assert complete(config, rollback) == DeploymentOutcome.RESTORED
    assert_live(config, releases[2])
    assert current_link.read(config).number == before


def test_undo_is_recorded_before_anything_is_restored(config, releases, rollback, monkeypatch):
    switch(config, rollback)
    seen = []

    def start(context, deployment):
        seen.append(Deployment.objects.get(pk=rollback.pk).is_being_undone)

    monkeypatch.setattr(colours, "start_colour", start)
    with (
        pytest.raises(DeploymentFailed),
        deployment_steps.claim_deployment(config, rollback) as context,
    ):
        deployment_steps.undo_deployment(context, "the health gate failed")
    assert seen == [True]


def test_undo_that_was_killed_before_any_switch_does_not_deploy(config, releases, rollback):
    claim = Deployment.objects.running().claim(rollback.number, "a process that died")
    rollback.start_undo(claim, "the start failed")
    expire_claims()
    assert complete(config, rollback) == DeploymentOutcome.FAILED
    rollback.refresh_from_db()
    assert (rollback.switched_at, rollback.detail) == (
        None,
        f"the start failed Nothing was switched; {releases[2]} still serves.",
    )
    assert_live(config, releases[2])


@pytest.mark.parametrize("refusal", [Unhealthy("it crashed"), OSError("no memory")])
def test_link_leads_to_the_old_release_even_if_its_colour_does_not_start(
    config, releases, rollback, monkeypatch, refusal
):
    switch(config, rollback)

    def fail(context, deployment):
        assert deployment.release == releases[2]
        raise refusal

    monkeypatch.setattr(colours, "start_colour", fail)
    with (
        pytest.raises(DeploymentFailed) as failed,
        deployment_steps.claim_deployment(config, rollback) as context,
    ):
        deployment_steps.undo_deployment(context, "the health gate failed")
    assert failed.value.is_stuck
    assert str(refusal) in failed.value.detail
    assert_live(config, releases[2])
    assert Release.objects.get(pk=releases[0].pk).status == ReleaseStatus.STUCK


@pytest.mark.parametrize(
    ("deaths", "outcome"),
    [
        (MAX_ATTEMPTS - 1, DeploymentOutcome.SUCCEEDED),
        (MAX_ATTEMPTS, DeploymentOutcome.FAILED),
        pytest.param(MAX_ATTEMPTS + 1, DeploymentOutcome.FAILED, marks=pytest.mark.full),
    ],
)
def test_deployment_is_tried_three_times_before_its_switch(
    config, releases, rollback, deaths, outcome
):
    die(rollback, deaths)
    assert complete(config, rollback) == outcome
    is_live = outcome == DeploymentOutcome.SUCCEEDED
    assert_live(config, releases[0] if is_live else releases[2])


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        (2 * MAX_ATTEMPTS - 1, DeploymentOutcome.SUCCEEDED),
        (2 * MAX_ATTEMPTS, DeploymentOutcome.RESTORED),
        pytest.param(2 * MAX_ATTEMPTS + 1, DeploymentOutcome.RESTORED, marks=pytest.mark.full),
    ],
)
def test_switched_deployment_is_tried_up_to_six_claims(config, releases, rollback, claims, outcome):
    switch(config, rollback)
    die(rollback, claims - 1)  # the switch was the first
    assert complete(config, rollback) == outcome
    is_live = outcome == DeploymentOutcome.SUCCEEDED
    assert_live(config, releases[0] if is_live else releases[2])


def test_exception_that_repeats_at_each_claim_ends_the_deployment_at_the_limit(
    config, releases, rollback, monkeypatch
):
    def fail(context, deployment):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(colours, "start_colour", fail)
    for number in range(MAX_ATTEMPTS):
        with pytest.raises(ZeroDivisionError):
            complete(config, rollback)
        rollback.refresh_from_db()
        assert (rollback.outcome, rollback.attempts) == ("running", number + 1)
    assert complete(config, rollback) == DeploymentOutcome.FAILED
    rollback.refresh_from_db()
    assert rollback.detail.startswith(deployment_steps.TOO_MANY_ATTEMPTS)
    assert_live(config, releases[2])


def test_a_deploy_that_waits_for_another_one_takes_no_number(settings, monkeypatch):
    running, looks = DeploymentFactory(outcome="running", ended_at=None), []
    monkeypatch.setattr(deploy_and_rollback, "POLL_SECONDS", 0.0)

    def stop_at_the_third_look():
        looks.append(1)
        return len(looks) == 3

    with pytest.raises(DeploymentLost):
        deploy_and_rollback.deploy_release(
            settings.OROBOROS,
            ReleaseFactory().pk,
            actor="bob",
            reason="a test",
            key="run:1",
            stop=stop_at_the_third_look,
        )
    assert len(looks) == 3
    assert DeploymentFactory().number == running.number + 1


def test_a_second_task_of_a_deployment_that_another_process_has_does_nothing(monkeypatch):
    running = DeploymentFactory(outcome="running", ended_at=None)
    assert Deployment.objects.running().claim(running.number, "another process")
    # A look without the wait until the other one's claim has expired.
    monkeypatch.setattr(deployment_steps, "wait_until", lambda look, **how: look())
    before = Deployment.objects.values().get()
    deploy_and_rollback.execute_deployment(running.number)
    assert Deployment.objects.values().get() == before
