"""The two colours of production."""

import subprocess
import sys

import pytest

from host.deadline import wait_until
from host.errors import Refused
from releases.deployments import deploy_and_rollback
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Deployment
from releases.production import colours, current_link
from releases.rules import DeploymentOutcome
from tests.environment import is_listening
from tests.releases.production_state import (
    assert_consistent,
    deploy,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_deployment_succeeds_if_the_idle_colours_are_busy(config, web, two_releases, monkeypatch):
    monkeypatch.setattr(colours, "list_idle_colours", refuse_as_busy)
    deploy_and_rollback.roll_back(config, two_releases[0].pk, actor="bob", reason="a try")
    assert Deployment.objects.first().outcome == DeploymentOutcome.SUCCEEDED


def refuse_as_busy(config):
    raise Refused("unit_busy", "Another start or stop is under way; try again.")


def test_foreign_listener_on_the_port_of_the_new_colour_fails_the_deploy(config, repo, web):
    first = deploy(config, repo.commit("one"))
    port = colours.port(config, "green")
    stranger = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: is_listening(port), seconds=60)
        with pytest.raises(DeploymentFailed, match=f"Port {port}"):
            deploy(config, repo.commit("two"))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert_consistent(config, first, web)
    assert current_link.read(config).commit == first.commit_sha
