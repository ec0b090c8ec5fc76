"""Probes of a unit's health path, over a real connection."""

import http.server
import os
import socket
import threading
import time

import pytest

from host import http_client
from host.units.health import probe_unit
from host.units.unit import UnitStatus
from tests.environment import free_port

OURS = UnitStatus(True, os.getpid(), 1.0, None, "ours")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path as its name says."""

    def do_GET(self):
        getattr(self, self.path.strip("/"))()

    def health(self, status=200):
        body = self.headers["Host"].encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def broken(self):
        self.health(503)

    def moved(self):
        self.health(302)

    def kept_open(self):
        self.health()
        self.server.released.wait(20)  # the answer is complete, the connection stays open

    def slow(self):
        self.server.released.wait(20)

    def drip(self):
        self.send_response(200)
        self.end_headers()
        while not self.server.released.wait(0.05):
            self.wfile.write(b"x")

    def flood(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x" * 65536)

    def raw(self):
        self.wfile.write(b"SSH-2.0-hello\r\n")

    def silent(self):
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that closes early is no error here."""


@pytest.fixture(scope="module")
def port():
    server = Server(("127.0.0.1", 0), Handler)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_probe_sends_the_given_host(port):
    health = probe_unit(OURS, port, "/health", host="preview1.localhost")
    assert health.ok
    assert health.body == f"preview1.localhost:{port}".encode()


def test_a_probe_does_not_wait_for_the_end_of_a_connection(port):
    begun = time.monotonic()
    assert probe_unit(OURS, port, "/kept_open").ok
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/broken", "/broken answered 503."),
        ("/moved", "/moved answered 302."),
        ("/slow", "/slow did not answer within"),
        ("/drip", "/drip did not answer within"),
        ("/raw", "/raw did not answer: the answer is not HTTP."),
        ("/silent", "/silent did not answer: the answer is not HTTP."),
    ],
)
def test_a_bad_answer_is_unhealthy_within_the_timeout(port, path, reason):
    begun = time.monotonic()
    health = probe_unit(OURS, port, path, timeout=0.3)
    assert time.monotonic() - begun < 1
    assert not health.ok
    assert health.reason.startswith(reason)


def test_an_endless_answer_is_cut(port):
    health = probe_unit(OURS, port, "/flood")
    assert health.ok
    assert len(health.body) <= http_client.LIMIT_BYTES


def test_a_port_that_accepts_and_does_not_answer_is_unhealthy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        health = probe_unit(OURS, server.getsockname()[1], "/", timeout=0.3)
        assert not health.ok


def test_a_refused_connection_is_the_reason():
    assert "refused" in probe_unit(OURS, free_port(), "/").reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (UnitStatus(False, 1, 1.0, 3, "none", failure="ended with exit code 3."), "exit code 3"),
        (UnitStatus(False, None, None, None, "none"), "does not run"),
        (UnitStatus(True, 1, 1.0, None, "none"), "does not listen"),
        (UnitStatus(True, 1, 1.0, None, "foreign", port_holder="process 7 (nc)"), "process 7"),
    ],
)
def test_a_unit_that_is_not_alone_on_its_port_is_unhealthy_without_a_request(port, status, reason):
    health = probe_unit(status, port, "/health")
    assert not health.ok
    assert reason in health.reason
