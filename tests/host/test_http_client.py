"""The client for this host's own ports, against real servers."""

import http.server
import json
import socket
import time

import pytest

from host import http_client
from tests.environment import free_port
from tests.host.http_servers import serving


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path as its name says."""

    def do_GET(self):
        getattr(self, self.path.partition("?")[0].strip("/").replace("-", "_"))()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = {"body": json.loads(body), "headers": dict(self.headers), "path": self.path}
        self.send(201, json.dumps(request).encode())

    def send(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def request_headers(self):
        self.send(200, json.dumps(dict(self.headers)).encode(), X_Two_Words=" spaced ")

    def refusal(self):
        self.send(409, b'{"error": "lease_fenced"}')

    def empty(self):
        self.send(204, b"")

    def without_length(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"until the end")

    def kept_open(self):
        self.send(200, b"whole")
        self.server.released.wait(600)

    def large(self):
        self.send(200, b"x" * 300_000)

    def split_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConte")
        self.wfile.flush()
        self.wfile.write(b"nt-Length: 2\r\n\r\nab")

    def drip(self):
        self.send_response(200)
        self.end_headers()
        while not self.server.released.wait(0.02):
            self.wfile.write(b"x")

    def not_http(self):
        self.wfile.write(b"SSH-2.0-hello\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def port():
    with serving(Handler) as port:
        yield port


def test_a_get_sends_the_host_and_the_given_headers(port):
    headers = {"Accept": "application/json", "X-One": "1"}
    response = http_client.get(port, "/request-headers", host="preview1.localhost", headers=headers)
    sent = json.loads(response.body)
    assert response.status == 200
    assert sent["Host"] == "preview1.localhost"
    assert (sent["Accept"], sent["X-One"]) == ("application/json", "1")


def test_response_headers_have_lower_case_names_and_stripped_values(port):
    headers = http_client.get(port, "/request-headers").headers
    assert headers["x-two-words"] == "spaced"


def test_a_post_sends_json_with_its_length_and_returns_the_answer(port):
    value = {"branch": "feature/ü", "keep": None}
    response = http_client.post_json(port, "/api/runs?a=1", value, headers={"X-One": "1"})
    request = json.loads(response.body)
    assert response.status == 201
    assert (request["body"], request["path"]) == (value, "/api/runs?a=1")
    assert request["headers"]["Content-Type"] == "application/json"
    assert request["headers"]["X-One"] == "1"


def test_a_refusal_is_an_answer_with_its_body(port):
    response = http_client.get(port, "/refusal")
    assert (response.status, json.loads(response.body)) == (409, {"error": "lease_fenced"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/empty", b""),
        ("/without-length", b"until the end"),
        ("/kept-open", b"whole"),
        ("/split-head", b"ab"),
    ],
)
@pytest.mark.alone
def test_an_answer_ends_at_its_length_or_with_the_connection(port, path, body):
    begun = time.monotonic()
    assert http_client.get(port, path, seconds=300).body == body
    assert time.monotonic() - begun < 100


def test_a_body_is_cut_at_the_limit_unless_there_is_none(port):
    assert len(http_client.get(port, "/large").body) == http_client.LIMIT_BYTES
    assert len(http_client.get(port, "/large", limit=10).body) == 10
    assert len(http_client.get(port, "/large", limit=None).body) == 300_000


@pytest.mark.alone
def test_an_answer_that_never_ends_is_cut_by_the_deadline_for_the_whole(port):
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        http_client.get(port, "/drip", seconds=0.3)
    assert time.monotonic() - begun < 100


def test_a_port_that_accepts_and_does_not_answer_times_out():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(TimeoutError),
    ):
        http_client.post_json(server.getsockname()[1], "/", {}, seconds=0.2)


def test_a_refused_connection_raises_an_os_error():
    with pytest.raises(ConnectionRefusedError):
        http_client.get(free_port(), "/")


def test_an_answer_that_is_not_http_raises_a_value_error(port):
    with pytest.raises(ValueError, match="not HTTP"):
        http_client.get(port, "/not-http")


def test_a_line_break_in_a_path_or_header_is_not_sent(port):
    with pytest.raises(ValueError, match="line break"):
        http_client.get(port, "/\r\nX-Forged: 1")
    with pytest.raises(ValueError, match="line break"):
        http_client.get(port, "/", headers={"X-One": "1\nX-Forged: 1"})


def test_a_request_to_this_host_ignores_the_proxies_of_the_shell(port, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert http_client.get(port, "/request-headers").status == 200
