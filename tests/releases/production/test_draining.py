"""A deployment ends no request that its old colour still answers."""

import json
import socket
import threading
import time
from datetime import timedelta

import pytest

from core.clock import get_database_time
from host.deadline import wait_until
from host.process import socket_owner
from host.units import managers
from releases.deployments import deploy_and_rollback, reconciler
from releases.models import Deployment, Release
from releases.production import colours, draining
from releases.rules import other_colour
from tests.releases.production_state import assert_consistent, deploy

pytestmark = pytest.mark.django_db(transaction=True)


class SlowRequest(threading.Thread):
    """A request that the backend answers after some seconds; sent once the backend has it."""

    def __init__(self, config, web, colour, seconds):
        super().__init__(daemon=True)
        self.web, self.path, self.version = web, f"/api/slow?{seconds}", None
        port = colours.port(config, colour)
        before = socket_owner.count_connections(port)
        self.start()
        assert wait_until(lambda: socket_owner.count_connections(port) > before, seconds=5)

    def run(self):
        status, _, body = self.web.get(self.path, timeout=30)
        self.version = json.loads(body)["version"] if status == 200 else status

    def wait(self):
        self.join(20)
        return self.version


def list_running(config):
    return managers.get_manager(config).list_names()


def test_open_connection_and_time_decide_whether_a_colour_drains(config, releases):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    live = Deployment.objects.latest_switch_to(Release.objects.live())
    colour = other_colour(live.colour)

    def set_age(seconds):
        at = get_database_time() - timedelta(seconds=seconds)
        Deployment.objects.filter(pk=live.pk).update(switched_at=at)

    with socket.create_server(("127.0.0.1", colours.port(config, colour))) as server:
        with socket.create_connection(server.getsockname()) as client, server.accept()[0]:
            assert socket_owner.count_connections(server.getsockname()[1]) == 1
            set_age(29)
            assert draining.is_draining(config, colour)
            set_age(31)
            assert not draining.is_draining(config, colour)
            set_age(5)
            assert draining.is_draining(config, colour)
            client.shutdown(socket.SHUT_RDWR)
        assert not draining.is_draining(config, colour)


@pytest.mark.full
def test_long_request_survives_a_deploy_and_the_next_deploy_waits_for_it(config, repo, web):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    deploy(config, repo.commit("one"))
    request = SlowRequest(config, web, "blue", 6)
    deploy(config, repo.commit("two"))
    assert request.is_alive() and len(list_running(config)) == 2
    third = deploy(config, repo.commit("three"))  # as the colour that still answers
    assert request.wait() == "one"
    assert_consistent(config, third, web)


@pytest.mark.full
def test_long_request_survives_a_deploy_and_a_rollback(config, repo, web):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    first = deploy(config, repo.commit("one"))
    old = SlowRequest(config, web, "blue", 12)
    deploy(config, repo.commit("two"))
    new = SlowRequest(config, web, "green", 8)
    started = time.monotonic()
    deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="a test")
    assert time.monotonic() - started < 6  # its process still serves: no wait
    assert (new.wait(), old.wait()) == ("two", "one")
    Deployment.objects.update(ended_at=first.created_at)  # no process waits any more
    assert wait_until(lambda: not draining.is_draining(config, "green"), seconds=5)
    reconciler.reconcile(config)
    assert_consistent(config, first, web)


@pytest.mark.full
def test_request_that_takes_too_long_is_ended_at_the_limit(config, repo, web):
    manifest = repo.files["oroboros.toml"].replace("[backend]", "[backend]\nstop_timeout = 3")
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    deploy(config, repo.commit("one", **{"oroboros.toml": manifest}))
    request = SlowRequest(config, web, "blue", 15)
    second = deploy(config, repo.commit("two"))
    assert draining.is_draining(config, "blue")
    assert wait_until(lambda: not draining.is_draining(config, "blue"), seconds=4)
    assert request.is_alive()
    Deployment.objects.update(ended_at=second.created_at)  # no process waits any more
    reconciler.reconcile(config)
    assert request.wait() == 502
    assert_consistent(config, second, web)


@pytest.mark.full
def test_deploy_without_open_requests_stops_the_old_colour_itself(config, repo, web):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    deploy(config, repo.commit("one"))
    assert web.get("/api/version")[0] == 200  # the surface keeps the connection for a second
    second = deploy(config, repo.commit("two"))
    assert_consistent(config, second, web)
