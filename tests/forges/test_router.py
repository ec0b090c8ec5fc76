"""The router lets large deliveries through to the control plane, and nothing else that is large."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.router import running_router
from web.server.request_buffer import HOOK_BODY_BYTES


class Upstream(BaseHTTPRequestHandler):
    """Answers with the number of bytes that it was sent."""

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        try:
            body = str(len(self.rfile.read(length))).encode()
        except OSError:  # the router has cut it
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Log nothing."""


@pytest.fixture(scope="module")
def router():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    with running_router(server.server_port) as port:
        yield port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/hooks/github", 3 * 1024 * 1024, 200),
        ("/hooks/github", HOOK_BODY_BYTES, 200),
        ("/hooks/github", HOOK_BODY_BYTES + 1, 413),
        ("/api/runs", 1024 * 1024, 200),
        ("/api/runs", 3 * 1024 * 1024, 413),
    ],
)
def test_only_webhooks_may_be_large(router, path, size, status):
    headers = {"Host": "api.localhost"}
    url = f"http://127.0.0.1:{router}{path}"
    answer = requests.post(url, b"x" * size, headers=headers, timeout=60)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == str(size)
