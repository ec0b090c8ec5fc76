"""Slow, silent and large clients at a real server hold no thread and no place of others."""

import http.client
import json
import os
import select
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain

import pytest
from django.conf import settings
from django.db import connection, transaction

from host.deadline import Deadline, wait_until
from runs.rules import Status
from tests import service
from tests.accounts.test_host_authentication import run_as_user
from tests.factories import RunFactory
from tests.router import running_router
from web.server import worker

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS = 2  # infra/gunicorn.conf.py
CLIENTS = 40
# What does not come by then never comes: each of these tests had clients that held all threads for
# as long as they were connected.
SECONDS = 60
HEAD = "POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
# As the router sends it: not from the shell.
ROUTED = (
    "HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer unknown\r\n"
    "X-Oroboros-Client: 192.0.2.7 1 192.0.2.1 2\r\n"
)
LARGE = "GET /static/oroboros/admin.css HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"


@pytest.fixture(scope="module")
def port(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), service.api() as port:
        yield port


def request(port, method="GET", path="/health", body=None, **headers):
    """Send one request; returns the status and the body."""
    http_connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    headers = {"Content-Type": "application/json", **headers}
    http_connection.request(method, path, body, headers)
    response = http_connection.getresponse()
    return response.status, response.read()


@contextmanager
def clients(port, start, receive_bytes=None):
    """Connect CLIENTS clients, each of which has sent `start`; yields their sockets."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(CLIENTS)]
        for client in sockets:
            if receive_bytes:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            client.settimeout(SECONDS)
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
                assert request(port, path=path)[0] == 200


@pytest.mark.full
@pytest.mark.alone
def test_sixty_slow_clients_of_each_port_for_a_minute_do_not_delay_probes(port):
    """Of the router and of the API at the same time, whose probes take turns."""
    with running_router(port) as router:
        slow, times, deadline = SlowClients([port, router]), [], Deadline(60)
        with slow:
            while not deadline.has_passed:
                slow.send_a_byte_each()
                for target in (port, router):
                    started_at = time.monotonic()
                    assert request(target, Host="api.localhost")[0] == 200
                    times.append(time.monotonic() - started_at)
    assert max(times) < 1


class SlowClients:
    """Sixty clients of each port that send a head or a body byte by byte."""

    def __init__(self, ports):
        self.sockets = {port: [] for port in ports}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in chain.from_iterable(self.sockets.values()):
            client.close()

    def send_a_byte_each(self):
        """Send, and connect again in place of those that the server has dropped."""
        for port, clients in self.sockets.items():
            clients[:] = [client for client in clients if not is_closed(client)]
            while len(clients) < 60:
                client = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
                end = ("X-Slow: ", "Content-Length: 50000\r\n\r\n")[len(clients) % 2]
                client.sendall(HEAD.replace("127.0.0.1:{port}", "api.localhost").encode())
                client.sendall(end.encode())
                clients.append(client)
            for client in clients:
                with suppress(OSError):
                    client.send(b"a")


def test_clients_that_do_not_read_do_not_delay_others(port):
    with clients(port, LARGE * 60, receive_bytes=1024):
        assert request(port, path="/admin/login/")[0] == 200


def test_a_client_that_keeps_its_end_open_does_not_stop_the_loop(port):
    with clients(port, "GET /health HTTP/1.0\r\n\r\n") as sockets:
        for client in sockets:
            assert b" 200 OK" in client.recv(4096)
        assert request(port)[0] == 200
        # All were let go by the deadline of each, not one after the other.
        assert wait_until(lambda: all(map(is_closed, sockets)), seconds=SECONDS, interval=0.05)


def test_requests_that_hold_all_threads_leave_one_for_health_and_one_for_the_shell(port):
    with ExitStack() as stack:
        with lock_tokens():
            sockets = stack.enter_context(clients(port, f"GET /api/slots {ROUTED}\r\n"))
            assert request(port)[0] == 200
            assert request(port, path="/api/slots")[0] == 200
            assert select.select(sockets, [], [], 0)[0] == []
        for client in sockets:
            assert client.recv(4096).startswith(b"HTTP/1.1 4")


@contextmanager
def lock_tokens():
    """Have each request with a token wait, with its thread, until the end of the block."""
    with transaction.atomic():
        connection.cursor().execute("LOCK TABLE accounts_apitoken IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_body_is_read_whole_or_refused_with_its_size(port):
    run = RunFactory(status=Status.PREVIEW_READY)
    body = json.dumps({"commit_sha": "b" * 40, "reason": "x" * 1500})
    address = f"/api/runs/{run.pk}/approve"
    assert b"commit_moved" in request(port, "POST", address, body, Expect="100-continue")[1]
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
        head = f"POST {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 99999999\r\n"
        client.sendall(f"{head}\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert b" 413 " in answer and json.loads(answer.split(b"\r\n\r\n")[1])["error"] == (
        "body_too_large"
    )


def test_a_body_in_an_unknown_coding_has_an_answer(port):
    head = f"POST /api/runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
        client.sendall(f"{head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert b" 501 " in answer and b"transfer_coding_unsupported" in answer


def test_requests_in_one_packet_are_answered_in_their_order(port):
    one = f"GET {{}} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{{}}\r\n"
    paths = ["/health", "/nowhere", "/health"]
    data = "".join(one.format(path, "") for path in paths) + one.format(
        "/x", "Connection: close\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
        client.sendall(data.encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    statuses = [
        line.split()[1] for line in answer.split(b"HTTP/1.1")[1:] for line in [b"- " + line]
    ]
    assert statuses == [b"200", b"404", b"200", b"404"]


def hold_many(port):
    """Hold 400 connections; returns whether the server has ended those above its limit."""
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=SECONDS) for _ in range(400)]
    most = WORKERS * worker.CONNECTIONS_PER_PEER
    return wait_until(lambda: 400 - sum(map(is_closed, sockets)) <= most, seconds=SECONDS)


@pytest.mark.root
def test_a_user_of_the_host_holds_a_limited_number_of_connections(port):
    run_as_user(lambda: hold_many(port), settings.OROBOROS.app_user.uid)
    assert request(port)[0] == 200


@pytest.mark.root
def test_a_process_of_the_services_own_user_holds_a_limited_number_of_connections(port):
    # What has come of the body extends its deadline to minutes.
    start = HEAD + "Content-Length: 900000\r\n\r\n" + 300_000 * "a"
    with clients(port, start) as others:

        def leave_others_and_hold_many():
            for client in others:
                client.close()
            return hold_many(port)

        run_as_user(leave_others_and_hold_many, os.geteuid())
        # This process has fewer.
        assert not any(map(is_closed, others))


def is_closed(client):
    client.setblocking(False)
    try:
        return client.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
