"""Measures what preview protection adds to a request through the router.

    python bench/preview_protection.py [requests]

Two routers stand before one API and one server in place of a preview: one asks the control plane
who looks, the other (the floor of this run) does not. The same client requests a small file from
both, in turns, as a person who logged in, by a share link and by a bypass token. Each may add at
most 3 ms at the median; the ratio to the floor is printed too.
"""

import contextlib
import http.client
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from api_server import api, database, router
from arguments import parse_one

REQUESTS = 2000
LIMIT_SECONDS = 0.003
HOST = "preview1.example.com"
Headers = dict[str, str]


class Preview(BaseHTTPRequestHandler):
    """Answers every request with a few bytes, and keeps the connection."""

    protocol_version = "HTTP/1.1"
    # Else the body waits for the acknowledgement of the head, which the kernel delays by 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def main(requests: int) -> bool:
    """Measure each kind of visitor; return whether all are within the bound."""
    with database(), contextlib.ExitStack() as stack:
        port, visitors = stack.enter_context(api()), make_visitors()
        preview = stack.enter_context(serve_preview())
        to = {"WEB_PREVIEW1_PORT": str(preview)}
        floor = stack.enter_context(router(port, **to, PREVIEW_PROTECTION="open"))
        protected = stack.enter_context(router(port, **to, PREVIEW_PROTECTION="protected"))
        assert request(http.client.HTTPConnection("127.0.0.1", protected), {}) == 401
        results = [
            measure(name, floor, protected, headers, requests) for name, headers in visitors.items()
        ]
    return all(results)


def make_visitors() -> dict[str, Headers]:
    """Create a run that holds preview-1, and who may look at it; return their headers."""
    import django

    django.setup()
    from django.contrib.auth.models import Group, User
    from django.contrib.sessions.backends.db import SessionStore
    from django.utils import timezone

    from accounts.tokens import create_token
    from runs.leasing.leases import request_slot
    from runs.models import Run
    from runs.protection.access import VISIT_COOKIE, find_preview_host, sign_cookie
    from runs.protection.visits import begin_visit, hash_secret, make_ticket

    run = Run.objects.create(
        title="Bench", branch="bench", created_by="bench", created_at=timezone.now()
    )
    request_slot(run, actor="bench")
    user = User.objects.create_user("bench", password=None)
    user.groups.add(Group.objects.get_or_create(name="viewer")[0])
    session = SessionStore()
    session.create()
    ticket = make_ticket(HOST, run, user, session.session_key or "", hash_secret("nonce"))
    visit = begin_visit(ticket, "nonce", HOST, run)
    assert visit is not None
    preview_host = find_preview_host(HOST, "1")
    link = create_link(run)
    return {
        "a person": {"Cookie": f"{VISIT_COOKIE}={sign_cookie('visit', visit, preview_host)}"},
        "a share link": {"Cookie": f"{VISIT_COOKIE}={sign_cookie('share', link, preview_host)}"},
        "a bypass token": {
            "X-Oroboros-Bypass": create_token("bench", ["preview"], created_by="bench")
        },
    }


def create_link(run: object) -> int:
    from datetime import timedelta

    from django.utils import timezone

    from runs.models import ShareLink

    now = timezone.now()
    end = now + timedelta(days=1)
    link = ShareLink(run=run, digest="bench", created_by="bench", created_at=now, expires_at=end)
    link.save()
    return link.pk


def measure(name: str, floor: int, protected: int, headers: Headers, requests: int) -> bool:
    """Print the medians of both routers; return whether the difference is within the bound."""
    times: dict[int, list[float]] = {floor: [], protected: []}
    connections = {port: http.client.HTTPConnection("127.0.0.1", port) for port in times}
    for number in range(requests + 50):
        for port, found in times.items():
            started_at = time.perf_counter()
            assert request(connections[port], headers) == 200
            if number >= 50:  # the first ones connect and import
                found.append(time.perf_counter() - started_at)
    open_, checked = (statistics.median(times[port]) for port in (floor, protected))
    added = checked - open_
    print(
        f"{name}: median {checked * 1000:.2f} ms, without protection {open_ * 1000:.2f} ms: "
        f"{added * 1000:.2f} ms more ({checked / open_:.1f} times; at most "
        f"{LIMIT_SECONDS * 1000:.0f} ms more)"
    )
    return added < LIMIT_SECONDS


def request(connection: http.client.HTTPConnection, headers: Headers) -> int:
    connection.request("GET", "/", headers={"Host": HOST, **headers})
    response = connection.getresponse()
    response.read()
    return response.status


@contextlib.contextmanager
def serve_preview() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Preview)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


if __name__ == "__main__":
    sys.exit(not main(parse_one(__doc__, "requests", REQUESTS, "of each kind, to each router")))
