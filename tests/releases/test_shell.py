"""What scripts/rollback.sh says and asks where the control plane runs."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from host import config as configuration
from tests.releases.conftest import free_offset

RELEASE = "r-20261124120000-abcdef012345"
WAY = {
    "release_id": RELEASE,
    "from_release_id": "r-20261125120000-012345abcdef",
    "commits": [{"sha": "c" * 40, "subject": "Drop the notes"}],
    "migrations": ["app/migrations/0042_drop.py"],
    "irreversible": ["drops column note.text"],
}


class Host:
    """An API that knows one release, and a shell that asks it to roll back."""

    def __init__(self, folder):
        self.said = folder / "said"
        self.asked = []
        self.var = folder / "var"
        self.offset = free_offset()
        address = ("127.0.0.1", 8000 + self.offset)
        self.server = ThreadingHTTPServer(address, self._handler())
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def _handler(host):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                known = self.path == f"/api/releases/{RELEASE}"
                refusal = {"error": "release_unknown", "detail": "No such release."}
                self.answer(*((200, {"rollback": WAY}) if known else (404, refusal)))

            def do_POST(self):
                self.answer(409, {"error": "release_corrupt", "detail": "It was changed."})

            def answer(self, status, facts):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                host.asked.append((self.command, host.said.read_text()))
                body = json.dumps(facts).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        return Handler

    def rollback(self, release):
        """Run the command as the script does, without a terminal; returns exit code and answer."""
        ours = {"OROBOROS_PORT_OFFSET": str(self.offset), "OROBOROS_VAR": str(self.var)}
        with self.said.open("w") as said:
            done = subprocess.run(
                [sys.executable, "-m", "releases", release, "--reason", "a test"],
                cwd=configuration.HOME,
                env={**os.environ, **ours},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                timeout=30,
            )
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_what_a_rollback_takes_back_is_said_before_it_is_asked_for(host):
    ended, answer = host.rollback(RELEASE)
    assert (ended, answer["error"]) == (1, "release_corrupt")
    (first, _), (second, said) = host.asked
    assert (first, second) == ("GET", "POST")
    assert said.splitlines() == [
        f"r-20261125120000-012345abcdef -> {RELEASE}",
        "  takes back cccccccccccc Drop the notes",
        "  crosses app/migrations/0042_drop.py",
        "  irreversible: drops column note.text",
    ]


def test_a_release_that_the_api_does_not_know_is_not_asked_for(host):
    ended, answer = host.rollback("r-20260101000000-abcdef012345")
    assert (ended, answer["error"]) == (1, "release_unknown")
    assert [method for method, _ in host.asked] == ["GET"]
