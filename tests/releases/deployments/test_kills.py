"""A SIGKILL at any point of a deploy or rollback: it is completed, with one live release."""

import pytest

from core.claims import MAX_ATTEMPTS
from releases.deployments import deploy_and_rollback, reconciler
from releases.deployments.deploy_commit import deploy_commit
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Deployment, Release
from releases.rules import DeploymentOutcome
from tests.releases import killed_process
from tests.releases.production_state import (
    assert_consistent,
    expire_claims,
    run_and_kill,
)

pytestmark = pytest.mark.django_db(transaction=True)

BUILD = [
    "releases.models:ReleaseQuerySet.start_build",
    "host.git.bare_repository:Repository.export_commit",
    "host.app.installs:make_installs",
    "host.files.public_folder:copy_public_folder",
    "releases.builds.build_manifest:finalize_build",
    "releases.models:Release.finish_build",
]
SWITCH = [
    "releases.models:DeploymentQuerySet.claim",
    "releases.production.migration:create_restore_point",
    "releases.production.migration:_run_release_command",
    "releases.production.migration:migrate",
    "releases.production.colours:start_colour",
    "releases.production.current_link:write",
    "releases.production.current_link:switch",
    "releases.models:Deployment.go_live",
    "releases.production.health_gate:run_reload_hook",
    "releases.production.health_gate:watch_health",
    "releases.models:Deployment.succeed",
    "releases.production.colours:stop_idle_colours",
]
WHEN = ["before", "after"]


@pytest.mark.full
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", BUILD + SWITCH)
def test_deploy_killed_at_any_point_is_completed(point, when, config, repo, web):
    check_killed_deploy(point, when, config, repo, web)


@pytest.mark.parametrize(
    ("point", "when"),
    [
        ("releases.builds.build_manifest:finalize_build", "before"),
        ("releases.production.migration:_run_release_command", "after"),
        ("releases.production.current_link:switch", "after"),
        ("releases.production.health_gate:watch_health", "before"),
    ],
)
def test_deploy_killed_between_two_steps_is_completed(point, when, config, repo, web):
    check_killed_deploy(point, when, config, repo, web)


def check_killed_deploy(point, when, config, repo, web):
    deploy_commit(config, repo.commit("one"), actor="ann", reason="first")
    notes = "CREATE TABLE IF NOT EXISTS more (id int);\n"
    commit = repo.commit("two", **{"backend/migrations/0002_more.sql": notes})
    run_and_kill(point, when, "deploy", commit)
    assert web.get()[0] == 200  # the old or the new release serves
    expire_claims()
    killed_process.deploy(config, commit)
    assert_consistent(config, Release.objects.get(commit_sha=commit), web)
    assert Deployment.objects.count() == 2
    assert len(list((config.var / "releases").glob("r-*"))) == 2


def test_deployment_that_kills_every_process_is_undone(config, repo, web):
    first, _ = deploy_commit(config, repo.commit("one"), actor="ann", reason="first")
    second, _ = deploy_commit(config, repo.commit("two"), actor="ann", reason="second")
    run_and_kill("releases.production.colours:start_colour", "before", "rollback", first.pk)
    expire_claims()
    for _ in range(MAX_ATTEMPTS - 1):
        [running] = Deployment.objects.running()
        assert Deployment.objects.running().claim(running.number, "a process that died")
        expire_claims()
    reconciler.reconcile(config)
    assert Deployment.objects.first().outcome == DeploymentOutcome.FAILED
    assert_consistent(config, second, web)
    with pytest.raises(DeploymentFailed):
        deploy_and_rollback.complete_deployment(config, Deployment.objects.first())
