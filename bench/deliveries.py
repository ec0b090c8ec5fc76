"""Measures a burst of webhooks of a forge: how fast they are answered, and what others wait for.

    python bench/deliveries.py [count]

It starts a real API, and sends so many signed deliveries over eight connections, as fast as they
are answered. The bounds: 95 % of the answers within a second; and beside them the medians of
GET /api/slots and GET /health within twice their time at rest. All deliveries must be stored.
"""

import hashlib
import hmac
import http.client
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from api_server import NO_DISK, api, database
from api_under_load import measure_requests, print_result, spread
from arguments import parse_one

CONNECTIONS, REST_SECONDS = 8, 8.0
LIMIT_MS = 1000.0
SECRET = "only-for-the-bench"
BODY = json.dumps({"action": "opened", "text": "x" * 24_000}).encode()
SIGNATURE = f"sha256={hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()}"


def main(count: int) -> bool:
    """Send the burst; return whether all bounds hold."""
    with database(NO_DISK) as url:
        secret = Path(os.environ["OROBOROS_VAR"]).parent / "webhook-secret"
        secret.write_text(SECRET)
        os.environ.update(
            FORGE="github",
            FORGE_REPOSITORY="team/shop",
            FORGE_WEBHOOK_SECRET_FILE=str(secret),
        )
        with api() as port:
            with measure_requests(port) as rest:
                time.sleep(REST_SECONDS)
            with measure_requests(port) as during:
                started_at = time.monotonic()
                taken = send_all(port, count)
                seconds = time.monotonic() - started_at
            with psycopg.connect(url) as connection:
                [stored] = connection.execute("SELECT count(*) FROM forges_delivery").fetchone()
    median, slow = spread(taken)
    print(f"{count} deliveries in {seconds:.1f} s, {stored} stored")
    print(f"answers: median {median:.0f} ms, 95 % {slow:.0f} ms (bound {LIMIT_MS:.0f})")
    return (slow < LIMIT_MS) & (stored == count) & print_result(rest, during)


def send_all(port: int, count: int) -> list[float]:
    """Send the deliveries over all connections; returns the seconds of each answer."""
    shares = [range(first, count, CONNECTIONS) for first in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return [one for found in threads.map(lambda ids: send(port, ids), shares) for one in found]


def send(port: int, ids: range) -> list[float]:
    """Send one delivery after the other over one connection."""
    connection, taken = http.client.HTTPConnection("127.0.0.1", port), []
    for number in ids:
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "pull_request",
            "X-GitHub-Delivery": f"delivery-{number}",
            "X-Hub-Signature-256": SIGNATURE,
        }
        started_at = time.perf_counter()
        connection.request("POST", "/hooks/github", BODY, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 202:
            raise RuntimeError(f"a delivery was answered with {answer.status}")
        taken.append(time.perf_counter() - started_at)
    return taken


if __name__ == "__main__":
    sys.exit(0 if main(parse_one(__doc__, "count", 1000, "how many deliveries are sent")) else 1)
