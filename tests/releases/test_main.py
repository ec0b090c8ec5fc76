"""`python -m releases`, which scripts/rollback.sh runs: its messages and its API requests."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from host import config as configuration
from tests.environment import free_offset

RELEASE = "r-20261124120000-abcdef012345"
PLAN = {
    "release_id": RELEASE,
    "from_release_id": "r-20261125120000-012345abcdef",
    "commits": [{"sha": "c" * 40, "subject": "Drop the notes"}],
    "migrations": ["app/migrations/0042_drop.py"],
    "irreversible": ["drops column note.text"],
}


class Host:
    """An API with one release, and the command that rolls back through it."""

    def __init__(self, folder):
        self.messages = folder / "messages"
        self.requests = []
        self.var = folder / "var"
        self.offset = free_offset()
        address = ("127.0.0.1", 8000 + self.offset)
        self.server = ThreadingHTTPServer(address, self._handler())
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def _handler(host):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                is_found = self.path == f"/api/releases/{RELEASE}"
                refusal = {"error": "release_unknown", "detail": "No such release."}
                self.answer(*((200, {"rollback": PLAN}) if is_found else (404, refusal)))

            def do_POST(self):
                self.answer(409, {"error": "release_corrupt", "detail": "It was changed."})

            def answer(self, status, facts):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                host.requests.append((self.command, host.messages.read_text()))
                body = json.dumps(facts).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        return Handler

    def rollback(self, release):
        """Run the command without a terminal; return its exit code and answer."""
        ours = {"OROBOROS_PORT_OFFSET": str(self.offset), "OROBOROS_VAR": str(self.var)}
        with self.messages.open("w") as messages:
            done = subprocess.run(
                [sys.executable, "-m", "releases", release, "--reason", "a test"],
                cwd=configuration.HOME,
                env={**os.environ, **ours},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
                timeout=120,
            )
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_plan_is_printed_before_the_rollback_is_requested(host):
    ended, answer = host.rollback(RELEASE)
    assert (ended, answer["error"]) == (1, "release_corrupt")
    (first, _), (second, messages) = host.requests
    assert (first, second) == ("GET", "POST")
    assert messages.splitlines() == [
        f"r-20261125120000-012345abcdef -> {RELEASE}",
        "  takes back cccccccccccc Drop the notes",
        "  migration stays applied: app/migrations/0042_drop.py",
        "  irreversible: drops column note.text",
    ]


def test_unknown_release_is_refused_without_a_rollback_request(host):
    ended, answer = host.rollback("r-20260101000000-abcdef012345")
    assert (ended, answer["error"]) == (1, "release_unknown")
    assert [method for method, _ in host.requests] == ["GET"]
