"""A deployment ends no request that its old colour still answers."""

import json
import os
import signal
import socket
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest

from core.clock import get_database_time
from host.deadline import wait_until
from host.process import socket_owner
from host.units import managers
from releases.deployments import deploy_and_rollback, reconciler
from releases.models import Deployment, Release
from releases.production import colours, current_link, draining
from releases.rules import DeploymentKind, DeploymentOutcome, ReleaseStatus, other_colour
from tests.releases.production_state import assert_consistent, deploy, make_live, make_release
from tests.slots.runtime.answering_backend import dropping_server

pytestmark = pytest.mark.django_db(transaction=True)


class SlowRequest(threading.Thread):
    """A request that the backend answers after some seconds; sent once the backend has it."""

    def __init__(self, config, web, colour, seconds):
        super().__init__(daemon=True)
        self.web, self.path, self.version = web, f"/api/slow?{seconds}", None
        port = colours.port(config, colour)
        before = socket_owner.count_connections(port)
        self.start()
        assert wait_until(lambda: socket_owner.count_connections(port) > before, seconds=60)

    def run(self):
        status, _, body = self.web.get(self.path, timeout=120)
        self.version = json.loads(body)["version"] if status == 200 else status

    def wait(self):
        self.join(120)
        return self.version


# Answers each message of a WebSocket with its version, and closes it in order on SIGTERM.
WEBSOCKETS = """
import base64, hashlib

opened = []

def talk(handler):
    key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    handler.send_header("Sec-WebSocket-Accept", accept)
    handler.end_headers()
    opened.append(handler.connection)
    while handler.rfile.read(10):  # a masked text of four bytes
        handler.wfile.write(bytes([0x81, len(VERSION)]) + VERSION.encode())

def get(handler, plain=Handler.do_GET):
    talk(handler) if handler.headers.get("Upgrade") else plain(handler)

def close(*_):
    for connection in opened:
        connection.sendall(b"\\x88\\x02\\x03\\xe9")  # 1001, going away
    threading.Thread(target=server.shutdown).start()

Handler.do_GET = get
"""
CLOSED_1001 = b"\x88\x02\x03\xe9"  # RFC 6455, 7.4.1


def with_websockets(server):
    before, line, after = server.partition("server = Server(")
    after = after.replace("lambda *a: threading.Thread(target=server.shutdown).start()", "close")
    return before + WEBSOCKETS + line + after


def open_websocket(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(
        b"GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    stream = connection.makefile("rb")
    assert b" 101 " in stream.readline()
    while stream.readline().strip():
        pass
    return connection, stream


def list_running(config):
    return managers.get_manager(config).list_names()


def test_open_connection_and_time_decide_whether_a_colour_drains(config, releases):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "3000"
    live = Deployment.objects.latest_switch_to(Release.objects.live())
    colour = other_colour(live.colour)

    def set_age(seconds):
        at = get_database_time() - timedelta(seconds=seconds)
        Deployment.objects.filter(pk=live.pk).update(switched_at=at)

    with socket.create_server(("127.0.0.1", colours.port(config, colour))) as server:
        with socket.create_connection(server.getsockname()) as client, server.accept()[0]:
            assert socket_owner.count_connections(server.getsockname()[1]) == 1
            set_age(2900)
            assert draining.is_draining(config, colour)
            set_age(3001)
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
    assert wait_until(lambda: not draining.is_draining(config, "green"), seconds=60)
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
def test_websocket_goes_on_after_a_deploy_and_is_closed_in_order_at_the_limit(config, repo, web):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    server = with_websockets(repo.files["backend/server.py"])
    deploy(config, repo.commit("one", **{"backend/server.py": server}))
    connection, stream = open_websocket(web.port)
    second = deploy(config, repo.commit("two"))
    assert json.loads(web.get("/api/version")[2])["version"] == "two"
    connection.sendall(b"\x81\x84\0\0\0\0ping")
    assert stream.read(5) == b"\x81\x03one"
    config.environ["DEPLOY_DRAIN_SECONDS"] = "0"
    Deployment.objects.update(ended_at=second.created_at)  # no process waits any more
    reconciler.reconcile(config)
    assert stream.read() == CLOSED_1001
    assert_consistent(config, second, web)


@pytest.mark.full
def test_deploy_without_open_requests_stops_the_old_colour_itself(config, repo, web):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    deploy(config, repo.commit("one"))
    assert web.get("/api/version")[0] == 200  # the surface keeps the connection for a second
    second = deploy(config, repo.commit("two"))
    assert_consistent(config, second, web)


def fail_in_its_gate(config, release, live):
    """Leave what a deployment of `release` leaves whose colour died in its health gate."""
    failed = make_live(config, release)
    Deployment.objects.filter(pk=failed.pk).update(outcome=DeploymentOutcome.RESTORED)
    Release.objects.filter(pk=release.pk).update(status=ReleaseStatus.FAILED)
    Release.objects.filter(pk=live.pk).update(status=ReleaseStatus.LIVE)


def begin(config, release_id):
    """Return what `wait_until_replaceable` needs of a deployment's context."""
    deployment = deploy_and_rollback.begin_deployment(
        release_id, kind=DeploymentKind.ROLLBACK, actor="ann", reason="t"
    )
    return SimpleNamespace(
        config=config,
        deployment=deployment,
        is_stopping=lambda: False,
        raise_if_stopping=lambda: None,
        report_progress=lambda text: None,
    )


@pytest.mark.parametrize("is_cleared", [False, True])
def test_a_port_is_not_reused_while_a_request_may_wait_for_its_earlier_release(
    config, releases, monkeypatch, is_cleared
):
    monkeypatch.setattr(draining, "PORT_REUSE_SECONDS", 0.5)
    context = begin(config, releases[1].pk)
    deployment = context.deployment
    served = Deployment.objects.filter(release=releases[2]).get()
    Deployment.objects.filter(pk=deployment.pk).update(colour=served.colour)
    Deployment.objects.filter(pk=served.pk).update(outcome=DeploymentOutcome.RESTORED)
    deployment.refresh_from_db()
    if is_cleared:
        current_link.clear(config)
    draining.wait_until_replaceable(context)
    assert current_link.read_age(config) >= 0.5


def test_the_port_of_a_release_that_was_stopped_in_order_is_reused_at_once(
    config, repo, web, monkeypatch
):
    monkeypatch.setattr(draining, "PORT_REUSE_SECONDS", 3600.0)
    for name in ("one", "two", "three"):
        deploy(config, repo.commit(name))
    first, second, third = Deployment.objects.order_by("number")
    assert first.colour == third.colour != second.colour


def test_the_port_of_a_live_release_that_died_is_not_reused_while_requests_may_wait(
    config, repo, web, monkeypatch
):
    monkeypatch.setattr(draining, "PORT_REUSE_SECONDS", 4.0)
    deploy(config, repo.commit("one"))
    colour = Deployment.objects.get().colour
    status = managers.get_manager(config).status(colours.unit_name(colour))
    os.kill(status.pid, signal.SIGKILL)
    manager = managers.get_manager(config)
    assert wait_until(
        lambda: not manager.status(colours.unit_name(colour)).is_active, seconds=60, interval=0.01
    )
    deploy(config, repo.commit("two"))
    age = current_link.read_age(config)
    begun = time.monotonic()
    deploy(config, repo.commit("three"))
    assert Deployment.objects.order_by("number").last().colour == colour
    assert age + time.monotonic() - begun >= 4


def test_a_rollback_to_the_release_that_the_port_served_does_not_wait(
    config, releases, monkeypatch
):
    monkeypatch.setattr(draining, "PORT_REUSE_SECONDS", 3600.0)
    draining.wait_until_replaceable(begin(config, releases[1].pk))


@pytest.mark.full
def test_a_request_that_waits_for_a_dead_colour_is_not_answered_by_the_next_release(
    config, repo, web, monkeypatch
):
    live = deploy(config, repo.commit("one"))
    number = current_link.read(config).number
    fail_in_its_gate(config, make_release(config, "b"), live)
    answers = []
    paths = [f"/page{number}" for number in range(10)]
    threads = [
        threading.Thread(target=lambda path=path: answers.append(web.get(path))) for path in paths
    ]
    begun = time.monotonic()
    dead = int(current_link.read(config).address.rpartition(":")[2])
    with dropping_server(dead) as dropped:
        for thread in threads:
            thread.start()
        # They have read the link that names the dead colour; the surface tries again.
        assert wait_until(lambda: set(paths) <= dropped, seconds=60, interval=0.01)
    current_link.switch(config, number)
    monkeypatch.setattr(draining, "PORT_REUSE_SECONDS", 6.0)
    second = deploy(config, repo.commit("two"))
    assert time.monotonic() - begun > 5
    for thread in threads:
        thread.join(60)
    assert [status for status, _, _ in answers] == [502] * 10
    assert json.loads(web.get("/api/version")[2])["commit"] == second.commit_sha
