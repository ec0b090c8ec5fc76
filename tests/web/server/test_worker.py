"""Slow, silent and large clients at a real server hold no thread and no place of others."""

import http.client
import json
import socket
import time
from contextlib import ExitStack, contextmanager

import pytest
from django.conf import settings

from runs.rules import Status
from tests import service
from tests.accounts.test_host_authentication import run_as_user
from tests.factories import RunFactory
from web.server import connection, worker

pytestmark = pytest.mark.django_db(transaction=True)
CLIENTS = 40
HEAD = "POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
LARGE = "GET /static/oroboros/admin.css HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"


@pytest.fixture(scope="module")
def port(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), service.api() as port:
        yield port


def request(port, method="GET", path="/health", body=None, **headers):
    """Send one request; returns the status, the body and the seconds that it took."""
    started_at = time.monotonic()
    http_connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Content-Type": "application/json", **headers}
    http_connection.request(method, path, body, headers)
    response = http_connection.getresponse()
    return response.status, response.read(), time.monotonic() - started_at


@contextmanager
def clients(port, start, receive_bytes=None):
    """Connect CLIENTS clients, each of which has sent `start`; yields their sockets."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(CLIENTS)]
        for client in sockets:
            if receive_bytes:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            client.settimeout(20)
            client.connect(("127.0.0.1", port))
            client.sendall(start.format(port=port).encode())
        yield sockets


@pytest.mark.parametrize("start", [HEAD + "X-Slow: ", HEAD + "Content-Length: 50000\r\n\r\n", ""])
def test_clients_that_send_slowly_do_not_delay_others(port, start):
    with clients(port, start) as sockets:
        for _ in range(5):
            for client in sockets:
                client.sendall(b"a")
            for path in ("/health", "/admin/login/"):
                status, _, seconds = request(port, path=path)
                assert status == 200 and seconds < 5  # on a loaded host; a thread took 50000 s


def test_clients_that_do_not_read_do_not_delay_others(port):
    with clients(port, LARGE * 60, receive_bytes=1024):
        status, _, seconds = request(port, path="/admin/login/")
        assert status == 200 and seconds < connection.WRITE_SECONDS / 2


def test_a_client_that_keeps_its_end_open_does_not_stop_the_loop(port):
    with clients(port, "GET /health HTTP/1.0\r\n\r\n") as sockets:
        for client in sockets:
            assert b" 200 OK" in client.recv(4096)
        assert request(port)[2] < worker.LINGER_SECONDS


def test_a_body_is_read_whole_or_refused_with_its_size(port):
    run = RunFactory(status=Status.PREVIEW_READY)
    body = json.dumps({"commit_sha": "b" * 40, "reason": "x" * 1500})
    address = f"/api/runs/{run.pk}/approve"
    assert b"commit_moved" in request(port, "POST", address, body, Expect="100-continue")[1]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        head = f"POST {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 99999999\r\n"
        client.sendall(f"{head}\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert b" 413 " in answer and json.loads(answer.split(b"\r\n\r\n")[1])["error"] == (
        "body_too_large"
    )


def test_requests_in_one_packet_are_answered_in_their_order(port):
    one = f"GET {{}} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{{}}\r\n"
    paths = ["/health", "/nowhere", "/health"]
    data = "".join(one.format(path, "") for path in paths) + one.format(
        "/x", "Connection: close\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(data.encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    statuses = [
        line.split()[1] for line in answer.split(b"HTTP/1.1")[1:] for line in [b"- " + line]
    ]
    assert statuses == [b"200", b"404", b"200", b"404"]


@pytest.mark.root
def test_a_user_of_the_host_holds_a_limited_number_of_connections(port):
    workers = 2

    def hold_many():
        sockets = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(400)]
        ended = 0
        until = time.monotonic() + 5
        while ended < 400 - workers * worker.CONNECTIONS_PER_PEER and time.monotonic() < until:
            ended = sum(is_closed(client) for client in sockets)
        return ended >= 400 - workers * worker.CONNECTIONS_PER_PEER

    run_as_user(hold_many, settings.OROBOROS.app_user.uid)
    assert request(port)[0] == 200


def is_closed(client):
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_root_and_the_own_user_have_no_limit_of_their_own():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        accepted, address = server.accept()
        with accepted:
            assert connection.find_peer(address, accepted.getsockname()) is None
    assert connection.find_peer(("192.0.2.7", 1), ("192.0.2.1", 2)) == "192.0.2.7"
