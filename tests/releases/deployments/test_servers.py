"""Production with a second server: it is switched, probed, revived and stopped with its `web`."""

import os
import signal

import pytest

from host.deadline import wait_until
from host.units import managers
from releases import presenters
from releases.deployments import deploy_and_rollback, reconciler
from releases.deployments.deploy_commit import deploy_commit
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Release
from releases.production import colours
from tests.releases.application import SERVER
from tests.releases.production_state import deploy

pytestmark = pytest.mark.django_db(transaction=True)

SITE = SERVER.replace('"version": VERSION', '"version": "site of " + VERSION').replace(
    'self.path == "/health"', 'self.path == "/up"'
)
MANIFEST = """
[backend]
directory = "backend"
health_path = "/health"
[processes.site]
run = "python site_server.py"
port = true
health_path = "/up"
[processes.worker]
run = "python worker.py"
[routes]
"/*" = "site"
"""
WORKER = """
import os, time
assert not [name for name in os.environ if name == "PORT" or "OROBOROS_SERVER" in name]
time.sleep(600)
"""
FILES = {
    "oroboros.toml": MANIFEST,
    "backend/site_server.py": SITE,
    "backend/worker.py": WORKER,
}


def commit(repo, version, **changes):
    return repo.commit(version, **FILES | changes)


def assert_serves(config, web, version, commit_sha):
    """Assert that site and web of this version answer, and that nothing of another one runs."""
    for path, name in {"/": f"site of {version}", "/api/version": version}.items():
        status, header, body = web.get(path)
        assert (status, header) == (200, commit_sha)
        assert f'"version": "{name}"' in body
    assert web.get("/health")[0] == 200
    unit = colours.unit_name(colours.get_live_colour(config))
    worker = "ouroboros-app-process@worker"
    assert managers.get_manager(config).list_names() == [worker, unit, f"{unit}.1"]


def test_a_server_goes_live_with_its_release_and_is_revived(config, repo, web):
    one, two = commit(repo, "one"), commit(repo, "two")
    first = deploy(config, one)
    assert_serves(config, web, "one", one)
    deploy(config, two)
    assert_serves(config, web, "two", two)
    manager = managers.get_manager(config)
    unit = f"{colours.unit_name(colours.get_live_colour(config))}.1"
    os.kill(manager.status(unit).pid, signal.SIGKILL)
    assert wait_until(lambda: not manager.status(unit).is_active, seconds=60, interval=0.01)
    repairs = reconciler.repair_production(config)
    assert repairs[0].startswith(f"{unit} of ") and repairs[0].endswith("did not run")
    assert_serves(config, web, "two", two)
    shown = presenters.list_processes(config, Release.objects.live())
    assert [(one["name"], one["state"]) for one in shown] == [
        ("web", "running"),
        ("site", "running"),
        ("worker", "running"),
    ]
    deploy_and_rollback.roll_back(config, first.pk, actor="ann", reason="a test")
    assert_serves(config, web, "one", one)
    assert reconciler.reconcile(config) == []


@pytest.mark.full
def test_a_server_that_is_not_healthy_fails_the_deployment_and_the_old_ones_serve(
    config, repo, web
):
    one = commit(repo, "one")
    deploy(config, one)
    config.environ["DEPLOY_START_SECONDS"] = "3"
    sick = SITE.replace('sick = HEALTH == "sick"', "sick = True")
    broken = commit(repo, "two", **{"backend/site_server.py": sick})
    with pytest.raises(DeploymentFailed) as caught:
        deploy_commit(config, broken, actor="ann", reason="a test")
    assert "The process site of " in caught.value.detail
    assert "under [processes.site]" in caught.value.detail
    assert_serves(config, web, "one", one)


@pytest.mark.full
def test_a_release_without_the_server_leaves_none(config, repo, web):
    first = deploy(config, commit(repo, "one"))
    deploy(config, commit(repo, "two"))
    alone = MANIFEST.partition("[processes.site]")[0]
    deploy(config, commit(repo, "three", **{"oroboros.toml": alone}))
    names = managers.get_manager(config).list_names()
    assert names == [colours.unit_name(colours.get_live_colour(config))]
    deploy_and_rollback.roll_back(config, first.pk, actor="ann", reason="a test")
    assert_serves(config, web, "one", first.commit_sha)
