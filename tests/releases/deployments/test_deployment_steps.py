"""Failures within a deployment: what is undone, what serves then, and what is reported."""

import os
import shutil
from pathlib import Path

import pytest

from host.process import runner
from releases.deployments import deploy_and_rollback, deployment_steps, reconciler
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Deployment, Release
from releases.production import colours, health_gate
from releases.rules import DeploymentOutcome, ReleaseStatus
from tests.releases.production_state import (
    assert_consistent,
    deploy,
    write_script,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_release_that_never_becomes_healthy_is_not_switched_to(config, repo, web):
    first = deploy(config, repo.commit("one"))
    sick = repo.commit("two", **{"backend/health": "sick"})
    config.environ["DEPLOY_START_SECONDS"] = "1"
    with pytest.raises(DeploymentFailed) as failed:
        deploy(config, sick)
    assert "Nothing was switched" in failed.value.detail
    assert any("deploy.sh" in line for line in failed.value.guidance)
    assert web.get()[1] == first.commit_sha
    release = Release.objects.get(commit_sha=sick)
    assert release.status == ReleaseStatus.FAILED
    assert colours.get_live_colour(config) == "blue"


def test_release_that_becomes_unhealthy_after_the_switch_is_undone(config, repo, web):
    first = deploy(config, repo.commit("one"))
    # Run after the switch, and once more when the first one is live again.
    reload = write_script(config, "reload", f"touch {config.var}/app/sick")
    config.environ.update(DEPLOY_HEALTH_SECONDS="8", DEPLOY_BACKEND_RELOAD_CMD=reload)
    with pytest.raises(DeploymentFailed, match="is live again"):
        deploy(config, repo.commit("two", **{"backend/health": "sick after the switch"}))
    assert web.get()[1] == first.commit_sha
    assert Deployment.objects.first().outcome == DeploymentOutcome.RESTORED
    first.refresh_from_db()
    assert first.status == ReleaseStatus.LIVE


def test_rollback_with_a_failed_health_gate_restores_the_live_release(config, web, two_releases):
    first, second = two_releases
    check = write_script(config, "check", f"! grep -q {first.commit_sha} {config.var}/current/live")
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = check
    with pytest.raises(DeploymentFailed) as failed:
        deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="a try")
    assert not failed.value.is_stuck and f"{second} is live again" in failed.value.detail
    assert Deployment.objects.first().outcome == DeploymentOutcome.RESTORED
    assert_consistent(config, second, web)
    first.refresh_from_db()
    assert (
        first.status == ReleaseStatus.RETIRED
    )  # it was healthy once, so it stays a rollback target


def test_failed_restore_marks_the_release_stuck_and_logs_it(
    config, web, two_releases, monkeypatch, caplog
):
    first, second = two_releases
    monkeypatch.setattr(health_gate, "RESTORE_SECONDS", 0.5)
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = "false"
    with pytest.raises(DeploymentFailed) as failed:
        deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="a try")
    assert failed.value.is_stuck
    assert any("tail -n 200" in line for line in failed.value.guidance)
    assert "Production is stuck" in caplog.text
    first.refresh_from_db()
    assert first.status == ReleaseStatus.STUCK
    assert_consistent(config, second, web)
    assert reconciler.reconcile(config) == []  # a stuck deployment is not tried again
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = ""
    deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="repaired")
    assert_consistent(config, Release.objects.get(pk=first.pk), web)


@pytest.mark.parametrize("switched", [False, True])
def test_invalid_hook_setting_undoes_the_deployment(switched, config, web, two_releases):
    deployment = deploy_and_rollback.begin_deployment(
        two_releases[0].pk, kind="rollback", actor="bob", reason="a test"
    )
    if switched:
        with deployment_steps.claim_deployment(config, deployment) as context:
            deployment_steps.switch_to_release(context)
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = "a && b"
    with pytest.raises(DeploymentFailed, match=r"DEPLOY_BACKEND_RELOAD_CMD.*No hook was run"):
        deploy_and_rollback.complete_deployment(config, deployment)
    deployment.refresh_from_db()
    assert deployment.outcome == (DeploymentOutcome.RESTORED if switched else "failed")
    assert_consistent(config, two_releases[1], web)
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = ""
    deploy_and_rollback.roll_back(config, two_releases[0].pk, actor="bob", reason="repaired")
    assert_consistent(config, Release.objects.get(pk=two_releases[0].pk), web)


def test_release_command_that_outlived_its_worker_is_killed_by_the_next_claim(
    config, web, two_releases
):
    deployment = deploy_and_rollback.begin_deployment(
        two_releases[0].pk, kind="rollback", actor="bob", reason="a try"
    )
    left = runner.spawn(
        ["sleep", "5051"],
        cwd=config.var,
        env={"PATH": os.defpath},
        user=None,
        log=config.var / "left.log",
        mark=f"deployment:{deployment.number}:{config.var}",
    )
    Deployment.objects.filter(pk=deployment.pk).update(claim_fence=1)
    with deployment_steps.claim_deployment(config, deployment):
        assert not left.is_alive()
    deploy_and_rollback.complete_deployment(config, deployment)
    assert_consistent(config, Release.objects.get(pk=two_releases[0].pk), web)


def test_unwritable_log_does_not_stop_a_rollback(config, web, two_releases):
    log = Path(config.var / "log" / "releases")
    shutil.rmtree(log)
    log.write_text("in the way")
    deploy_and_rollback.roll_back(config, two_releases[0].pk, actor="bob", reason="back")
    assert web.get()[1] == two_releases[0].commit_sha
