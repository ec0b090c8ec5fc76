"""The reload hook and the health check of the operator."""

import re
import socket
import time

import pytest

from host.units import health
from releases.deployments import deploy_and_rollback
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Release
from releases.production import health_gate
from releases.production.colours import Unhealthy
from tests.releases.application import MANIFEST
from tests.releases.production_state import (
    assert_consistent,
    deploy,
    write_script,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_reload_hook_runs_after_the_switch_and_its_failure_undoes_the_deployment(config, repo, web):
    calls = config.var / "calls"
    live = config.var / "current" / "live"
    body = f"cut -d' ' -f3 {live} >> {calls}; ! grep -q two {config.var}/bad"
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = write_script(config, "reload", body)
    (config.var / "bad").write_text("none")
    first = deploy(config, repo.commit("one"))
    assert calls.read_text().split() == [first.commit_sha]
    hook = f"{body} || ! grep -q {repo.commit('two')} {live}"
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = write_script(config, "reload", hook)
    (config.var / "bad").write_text("two")
    with pytest.raises(DeploymentFailed, match="reload hook ended with exit code 1"):
        deploy(config, repo.head)
    assert calls.read_text().split() == [first.commit_sha, repo.head, first.commit_sha]
    assert_consistent(config, Release.objects.get(pk=first.pk), web)


# In place of the server's status: what an application behind https and without a page at / does.
BEHIND_HTTPS = """status = 404
        if self.headers["X-Forwarded-Proto"] != "https":
            status = 301
        elif self.headers["Host"].startswith("app.example.com") and self.path == "/up":
            status = 200
        if "guess" in VERSION:
            status = 404"""


def test_a_release_is_probed_as_its_visitors_reach_it(config, repo, web):
    config.environ["OROBOROS_HTTPS"] = "true"
    server = repo.files["backend/server.py"].replace("status = 200", BEHIND_HTTPS, 1)
    stated = MANIFEST.replace("[backend]", '[backend]\nhealth_path = "/up"', 1)
    deploy(config, repo.commit("one", **{"backend/server.py": server, "oroboros.toml": stated}))
    assert web.get("/health")[0] == 200
    guess = deploy(config, repo.commit("guess", **{"oroboros.toml": MANIFEST}))
    assert (web.get("/health")[0], web.get()[1]) == (200, guess.commit_sha)


def test_a_release_that_answers_wrongly_is_refused_early_with_the_key_to_set(
    config, repo, web, monkeypatch
):
    monkeypatch.setattr(health, "STEADY_SECONDS", 0.3)
    config.environ["DEPLOY_START_SECONDS"] = "60"
    stated = MANIFEST.replace("[backend]", '[backend]\nhealth_path = "/up"', 1)
    server = repo.files["backend/server.py"].replace("status = 200", "status = 302", 1)
    with pytest.raises(DeploymentFailed, match="/up answered 302") as failed:
        deploy(config, repo.commit("one", **{"backend/server.py": server, "oroboros.toml": stated}))
    assert "set `health_path` under [backend]" in failed.value.detail


@pytest.mark.parametrize("address", ["127.0.0.2", "0.0.0.0"])
def test_a_listener_on_another_address_of_the_surfaces_port_fails_the_gate(
    config, web, two_releases, address
):
    commit = two_releases[1].commit_sha
    health_gate._probe_surface(config.web_port, commit)
    with socket.socket() as rival:
        # As Caddy does; without it the kernel refuses all interfaces beside a loopback.
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        rival.bind((address, config.web_port))
        rival.listen()
        with pytest.raises(Unhealthy, match=rf"{re.escape(address)}:{config.web_port}"):
            health_gate._probe_surface(config.web_port, commit)


def test_hanging_reload_hook_is_killed_after_its_timeout(config, web, two_releases):
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = write_script(config, "reload", "sleep 600")
    config.environ["DEPLOY_BACKEND_RELOAD_TIMEOUT"] = "0.3"
    with pytest.raises(DeploymentFailed, match="took too long") as failed:
        deploy_and_rollback.roll_back(config, two_releases[0].pk, actor="bob", reason="a try")
    assert failed.value.is_stuck  # the hook also hung while the deployment was undone
    assert web.get()[1] == two_releases[1].commit_sha


def test_hanging_health_check_is_killed_after_its_timeout(config, web, two_releases):
    check = f"! grep -q {two_releases[0].commit_sha} {config.var}/current/live || sleep 600"
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = write_script(config, "check", check)
    # Time enough for the check that succeeds, of the release that is live again.
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_TIMEOUT"] = "3"
    started = time.monotonic()
    with pytest.raises(DeploymentFailed, match="health check took too long"):
        deploy_and_rollback.roll_back(config, two_releases[0].pk, actor="bob", reason="a try")
    assert time.monotonic() - started < 200
    assert_consistent(config, two_releases[1], web)
