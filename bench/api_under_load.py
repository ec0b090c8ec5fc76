"""Measures the API's response times while twenty runs are prepared and shipped, and at rest.

    python bench/api_under_load.py [runs]

It starts a real API and a real worker with three slots. Each run of the tests' small application is
approved as soon as its preview is ready, and must be merged in the order of approval. One client
requests GET /api/slots and GET /health in turns. Installs, builds, checks and backends use the same
processors, so responses are slower than at rest: the bound is the ratio of the medians on a host
with two processors that does nothing else.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

from api_server import HOME, api, manage
from arguments import parse_one

PATHS = ("/api/slots", "/health")
REST_SECONDS, PAUSE_SECONDS = 20.0, 0.05
RATIO = 2.0
RUN_SECONDS = 30.0
Times = dict[str, list[float]]


def main(count: int) -> bool:
    """Measure at rest and while `count` runs are shipped; return whether it is within the bound."""
    world = make_world()
    try:
        with api() as port, running_worker(world):
            client = ApiClient(port)
            with measure_requests(port) as rest:
                time.sleep(REST_SECONDS)
            with measure_requests(port) as during:
                started_at = time.monotonic()
                ship_runs(client, world, count)
                taken = time.monotonic() - started_at
            runs = client.get("/api/runs?limit=200")["results"]
    finally:
        world.close()
    print(f"{count} runs over {len(world.config.slots)} slots in {taken:.0f} s")
    return are_in_order(runs, count) & print_result(rest, during)


def make_world():
    """Create the test host; the API and the worker inherit its environment from this process."""
    import tests.environment  # noqa: F401 — starts a PostgreSQL for this process

    os.environ["DJANGO_SETTINGS_MODULE"] = "oroboros.settings"
    import django

    django.setup()
    from tests.runs.pipelines.shipping import tiny
    from tests.runs.pipelines.shipping.world import World
    from tests.system.host import free_offset

    world = World(tiny.files, OROBOROS_PORT_OFFSET=str(free_offset()), DEPLOY_HEALTH_SECONDS="0")
    (world.config.var / "static").mkdir()  # collected nowhere: WhiteNoise would warn
    os.environ.update(world.config.environ)
    for command in (["migrate", "-v0", "--run-syncdb"], ["sync_slots"]):
        manage(*command)
    return world


@contextmanager
def running_worker(world) -> Iterator[None]:
    """Run the worker in the body of the with statement, from when it is healthy."""
    with (world.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"], cwd=HOME, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 60
        while not is_healthy(world.config.worker_port):
            if time.monotonic() > until:
                raise TimeoutError("the worker does not become healthy")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def is_healthy(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/health")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


class ApiClient:
    """Sends requests to the API over one connection, as the operator of this host."""

    def __init__(self, port: int) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str) -> dict:
        return self._request("GET", path, None)

    def post(self, path: str, **body: object) -> dict:
        return self._request("POST", path, json.dumps(body))

    def _request(self, method: str, path: str, body: str | None) -> dict:
        self.link.request(method, path, body, {"Content-Type": "application/json"})
        response = self.link.getresponse()
        text = response.read()
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {text!r}")
        return json.loads(text)


@contextmanager
def measure_requests(port: int) -> Iterator[Times]:
    """Request each path in turns during the with statement; yields the seconds of each response."""
    taken: Times = {path: [] for path in PATHS}
    is_over = threading.Event()

    def request_until_over() -> None:
        client = ApiClient(port)
        while not is_over.is_set():
            for path in PATHS:
                started_at = time.perf_counter()
                client.get(path)
                taken[path].append(time.perf_counter() - started_at)
                time.sleep(PAUSE_SECONDS)

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(request_until_over)
        try:
            yield taken
        finally:
            is_over.set()
        future.result()  # a failed request ends the benchmark


def ship_runs(client: ApiClient, world, count: int) -> None:
    """Create the runs, approve each as soon as it is ready, and wait until all have ended."""
    for number in range(count):
        world.commit(f"load/{number}", {f"{number}.txt": str(number)})
        client.post("/api/runs", title=f"run {number}", branch=f"load/{number}")
    until = time.monotonic() + RUN_SECONDS * count
    while time.monotonic() < until:
        runs = client.get("/api/runs?limit=200")["results"]
        for run in runs:
            if run["status"] == "preview_ready":
                client.post(f"/api/runs/{run['id']}/approve", commit_sha=run["commit_sha"])
        if all(run["ended_at"] for run in runs):
            return
        time.sleep(1)  # seldom: these requests must not load what is measured
    raise TimeoutError("not all runs have ended")


def are_in_order(runs: list[dict], count: int) -> bool:
    """Return whether all runs are merged, each on top of the one approved before it."""
    runs = sorted(runs, key=lambda run: run["approved_at"])
    is_chain = all(two["base_sha"] == one["candidate_sha"] for one, two in pairwise(runs))
    merged = sum(run["status"] == "merged" for run in runs)
    print(f"merged {merged} of {count}, {'in' if is_chain else 'NOT in'} the order of approval")
    return is_chain and merged == count


def print_result(rest: Times, during: Times) -> bool:
    """Print the medians and 95th percentiles; return whether the medians are within the bound."""
    worst = 0.0
    for path in PATHS:
        (rest_50, rest_95), (load_50, load_95) = spread(rest[path]), spread(during[path])
        worst = max(worst, load_50 / rest_50)
        print(
            f"{path:12} at rest {rest_50:6.1f} ms, 95 % {rest_95:6.1f} ms   "
            f"during {load_50:6.1f} ms, 95 % {load_95:6.1f} ms   median {load_50 / rest_50:.2f}×, "
            f"95 % {load_95 / rest_95:.2f}×  ({len(during[path])} responses)"
        )
    print(f"the slower median {worst:.2f}× (bound {RATIO})")
    return worst < RATIO


def spread(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile in milliseconds."""
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000


if __name__ == "__main__":
    sys.exit(0 if main(parse_one(__doc__, "runs", 20, "how many runs ship")) else 1)
