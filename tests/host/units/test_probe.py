"""A unit's health path, asked over a real connection."""

import http.server
import os
import socket
import threading
import time

import pytest

from host import http_client
from host.units import managers
from host.units.managers import Status
from tests.environment import free_port

OURS = Status(True, os.getpid(), 1.0, None, "ours")


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

    def kept(self):
        self.health()
        self.server.released.wait(20)  # the answer is whole, the connection stays

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
        """A client that has had enough is no error here."""


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


def test_a_healthy_unit_is_asked_by_the_host_it_serves(port):
    health = managers.probe(OURS, port, "/health", host="preview1.localhost")
    assert health.ok
    assert health.body == f"preview1.localhost:{port}".encode()


def test_an_answer_is_whole_although_its_connection_is_kept(port):
    begun = time.monotonic()
    assert managers.probe(OURS, port, "/kept").ok
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
def test_an_answer_that_is_no_health_is_told_within_its_time(port, path, reason):
    begun = time.monotonic()
    health = managers.probe(OURS, port, path, timeout=0.3)
    assert time.monotonic() - begun < 1
    assert not health.ok
    assert health.reason.startswith(reason)


def test_an_answer_without_end_is_cut(port):
    health = managers.probe(OURS, port, "/flood")
    assert health.ok
    assert len(health.body) <= http_client.LIMIT_BYTES


def test_a_port_that_accepts_and_says_nothing_is_not_healthy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        health = managers.probe(OURS, server.getsockname()[1], "/", timeout=0.3)
        assert not health.ok


def test_a_refused_connection_is_told():
    assert "refused" in managers.probe(OURS, free_port(), "/").reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status(False, 1, 1.0, 3, "none", last_words="ended with exit code 3."), "exit code 3"),
        (Status(False, None, None, None, "none"), "does not run"),
        (Status(True, 1, 1.0, None, "none"), "does not listen"),
        (Status(True, 1, 1.0, None, "foreign", holder="process 7 (nc)"), "process 7"),
    ],
)
def test_a_unit_that_is_not_alone_on_its_port_is_not_even_asked(port, status, reason):
    health = managers.probe(status, port, "/health")
    assert not health.ok
    assert reason in health.reason
