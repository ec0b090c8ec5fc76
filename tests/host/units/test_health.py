"""Probes of a unit's health path, over a real connection."""

import http.server
import os
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from host import http_client
from host.process.socket_owner import ANY, LISTEN, Socket
from host.units import health as health_module
from host.units.health import describe_failed_start, probe, probe_unit, wait_until_healthy
from host.units.unit import HealthCheck, Unit, UnitStatus
from tests.environment import free_port
from tests.host.http_servers import serving

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

    def forwarded(self):
        # As daphne does: without an address it reads no scheme.
        is_forwarded = self.headers["X-Forwarded-For"] is not None
        is_https = is_forwarded and self.headers["X-Forwarded-Proto"] == "https"
        self.health(200 if is_https else 301)

    def login(self):
        self.send_response(302)
        self.send_header("Location", "/accounts/login/")
        self.end_headers()

    def missing(self):
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<h1>\x1b[31mNot   Found</h1>")

    def refused(self):
        self.health(400)

    def metrics(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()

    def failing(self):
        self.health(500)

    def kept_open(self):
        self.health()
        self.server.released.wait(600)  # the answer is complete, the connection stays open

    def slow(self):
        self.server.released.wait(600)

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


@pytest.fixture(scope="module")
def port():
    with serving(Handler) as port:
        yield port


def test_a_probe_sends_the_given_host(port):
    health = probe_unit(OURS, port, "/health", host="preview1.localhost")
    assert health.ok
    assert health.body == b"preview1.localhost"
    assert probe_unit(OURS, port, "/health").body == f"127.0.0.1:{port}".encode()


@pytest.mark.alone
def test_a_probe_does_not_wait_for_the_end_of_a_connection(port):
    begun = time.monotonic()
    assert probe_unit(OURS, port, "/kept_open", timeout=300).ok
    assert time.monotonic() - begun < 100


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
@pytest.mark.alone
def test_a_bad_answer_is_unhealthy_within_the_timeout(port, path, reason):
    begun = time.monotonic()
    timeout = 0.3 if path in ("/slow", "/drip") else 300.0
    health = probe_unit(OURS, port, path, timeout=timeout)
    assert time.monotonic() - begun < 100
    assert not health.ok
    assert health.reason.startswith(reason)


def test_a_guess_is_healthy_by_the_status_of_an_answer_that_never_ends(port):
    health = probe(OURS, port, HealthCheck("/drip", is_guess=True), timeout=30)
    assert health.ok, health.reason
    assert health.body.startswith(b"x")


def test_a_path_that_does_not_answer_is_told_with_the_key_to_set(port, unit):
    slow = unit("/slow")
    text = describe_failed_start(probe(OURS, slow.port, slow.health, timeout=0.1), slow)
    assert text.startswith("/slow did not answer within 0.1 s. The answer must be 2xx")
    assert "set `health_path` under [backend]" in text


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


@pytest.mark.parametrize(
    ("path", "is_stated_ok", "is_guess_ok"),
    [
        ("/health", True, True),
        ("/moved", False, True),
        ("/login", False, True),
        ("/missing", False, True),
        ("/failing", False, False),
        ("/broken", False, False),
    ],
)
def test_a_guessed_path_accepts_any_answer_below_500_and_a_stated_one_only_2xx(
    port, path, is_stated_ok, is_guess_ok
):
    assert probe(OURS, port, HealthCheck(path)).ok is is_stated_ok
    assert probe(OURS, port, HealthCheck(path, is_guess=True)).ok is is_guess_ok


def test_a_probe_says_https_where_visitors_come_over_https(port):
    assert not probe(OURS, port, HealthCheck("/forwarded")).ok
    assert probe(OURS, port, HealthCheck("/forwarded", is_https=True)).ok


class Manager:
    """A manager whose only unit always listens."""

    def status(self, name, port=None):
        return OURS

    def list_listeners(self, name):
        return []

    def list_unix_listeners(self, name):
        return []


@pytest.fixture
def unit(port, tmp_path):
    def make(path, **check):
        log = tmp_path / "app.log"
        log.write_text("of the release before\nNotFound: no page /missing\n")
        return Unit("a", ("x",), tmp_path, {}, None, log, port, HealthCheck(path, **check))

    return make


@pytest.mark.parametrize("path", ["/missing", "/login", "/failing"])
def test_the_wait_ends_early_at_a_steady_wrong_answer(unit, monkeypatch, path):
    monkeypatch.setattr(health_module, "STEADY_SECONDS", 0.2)
    begun = time.monotonic()
    assert not wait_until_healthy(Manager(), unit(path), 300).ok
    assert 0.2 <= time.monotonic() - begun < 100


class ElsewhereManager(Manager):
    """A manager whose unit listens at the given addresses, and not on its port at 127.0.0.1."""

    def __init__(self, *listeners, is_refused=False):
        self.listeners, self.is_refused = listeners, is_refused

    def status(self, name, port=None):
        return replace(OURS, listening="ours" if self.is_refused else "none")

    def list_listeners(self, name):
        return [Socket(ip_address(one), port, ANY, 0, 0, 1, LISTEN) for one, port in self.listeners]


@pytest.fixture
def looks_often(monkeypatch):
    for name, value in {"STEADY_SECONDS": 0.2, "ELSEWHERE_PART": 0, "LOOK_SECONDS": 0.02}.items():
        monkeypatch.setattr(health_module, name, value)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_server_on_another_port_is_not_waited_for(unit, port, looks_often, address):
    begun, closed = time.monotonic(), free_port()
    manager = ElsewhereManager((address, port))
    health = wait_until_healthy(manager, replace(unit("/health"), port=closed), 300)
    assert health.reason == (
        f"It does not listen on port {closed}. It listens on {address}:{port}: "
        f"it must listen on 127.0.0.1, port $PORT ({closed})."
    )
    assert 0.2 <= time.monotonic() - begun < 100


@pytest.mark.parametrize(("address", "is_refused"), [("::1", False), ("::", True)])
def test_a_server_of_ipv6_only_is_not_waited_for(unit, looks_often, address, is_refused):
    begun, closed = time.monotonic(), free_port()
    manager = ElsewhereManager((address, closed), is_refused=is_refused)
    health = wait_until_healthy(manager, replace(unit("/health"), port=closed), 300)
    assert f"It listens on [{address}]:{closed}: it must listen on 127.0.0.1" in health.reason
    assert time.monotonic() - begun < 100


@pytest.mark.parametrize(
    ("path", "is_guess"),
    [
        ("/missing", False),
        ("/broken", True),
        ("/raw", True),
        ("/refused", True),
        ("/metrics", True),
    ],
)
def test_a_port_that_does_not_answer_the_path_is_no_server_elsewhere(
    unit, port, looks_often, path, is_guess
):
    """Such as one for metrics or a debugger, while the application loads."""
    begun, slow = time.monotonic(), replace(unit(path, is_guess=is_guess), port=free_port())
    assert not wait_until_healthy(ElsewhereManager(("127.0.0.1", port)), slow, 0.6).ok
    assert time.monotonic() - begun >= 0.6


def test_a_server_elsewhere_has_a_part_of_the_time(unit, port, monkeypatch):
    monkeypatch.setattr(health_module, "STEADY_SECONDS", 0.1)
    monkeypatch.setattr(health_module, "LOOK_SECONDS", 0.02)
    begun, slow = time.monotonic(), replace(unit("/health"), port=free_port())
    assert not wait_until_healthy(ElsewhereManager(("127.0.0.1", port)), slow, 4).ok
    assert time.monotonic() - begun >= 4 * health_module.ELSEWHERE_PART


@pytest.fixture(params=["closes the connection", "answers plain HTTP with 400"])
def tls_port(request):
    """The port of a server of TLS, as far as a client without TLS sees it."""

    class Plain(socketserver.StreamRequestHandler):
        def handle(self):
            if self.rfile.read(1) == b"\x16":  # a handshake: an alert, as OpenSSL and Go send it
                self.wfile.write(b"\x15\x03\x01\x00\x02\x02\x0a")
            elif request.param.startswith("answers"):
                self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request.")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_server_of_tls_is_named_and_not_waited_for(unit, tls_port, monkeypatch):
    monkeypatch.setattr(health_module, "STEADY_SECONDS", 0.2)
    begun = time.monotonic()
    guess = replace(unit("/health", is_guess=True), port=tls_port)
    health = wait_until_healthy(Manager(), guess, 300)
    assert (health.ok, "It speaks TLS on its port" in health.reason) == (False, True)
    assert "health_path" not in describe_failed_start(health, guess)
    assert time.monotonic() - begun < 100


def test_a_real_server_of_tls_answers_the_handshake_of_a_probe(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=a",
    ]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            connection, _ = server.accept()
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=accept)
        thread.start()
        assert http_client.speaks_tls(server.getsockname()[1], 60)
        thread.join()


def test_plain_http_is_not_taken_for_tls(port):
    assert not http_client.speaks_tls(port, 5)
    assert (
        probe(OURS, port, HealthCheck("/refused", is_guess=True)).reason == "/refused answered 400."
    )


def test_the_wait_goes_on_while_the_application_says_that_it_is_not_ready_yet(unit, monkeypatch):
    monkeypatch.setattr(health_module, "STEADY_SECONDS", 0.05)
    begun = time.monotonic()
    assert not wait_until_healthy(Manager(), unit("/broken"), 0.5).ok  # answers 503
    assert time.monotonic() - begun >= 0.5


def test_a_failed_start_names_the_answer_the_key_and_the_last_words(unit):
    stated = unit("/missing")
    found = probe(OURS, stated.port, stated.health)
    text = describe_failed_start(found, stated, len("of the release before\n"))
    assert text.startswith("/missing answered 404. It answered: '<h1>Not Found</h1>'. ")
    assert "must be 2xx: health_path is /missing; set `health_path` under [backend]" in text
    assert text.endswith("app.log says:\nNotFound: no page /missing")
    guess = unit("/failing", is_guess=True)
    text = describe_failed_start(probe(OURS, guess.port, guess.health), guess)
    assert "must be below 500: no health_path is stated, so /failing is probed" in text
    moved = unit("/login")
    text = describe_failed_start(probe(OURS, moved.port, moved.health), moved)
    assert "Location: '/accounts/login/'. The answer is empty." in text
