"""What the API answers while twenty runs are prepared and shipped, beside what it answers at rest.

    python bench/crowded_shipping.py [runs]

A real API, a real worker and three slots; each run of the tests' small application is approved as
soon as its preview is ready, and must be merged in that order. One client asks GET /api/slots and
GET /health in turns through it all. Installs, builds, checks and backends have the processors too,
two here: no answer can be as quick as at rest, and the bound says how much slower the usual one is
on a host that does nothing else.
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

from service import HOME, api, manage

import tests.environment  # noqa: F401 — starts a PostgreSQL of our own

PATHS = ("/api/slots", "/health")
REST_SECONDS, PAUSE_SECONDS = 20.0, 0.05
RATIO = 2.0
RUN_SECONDS = 30.0
Times = dict[str, list[float]]


def main(count: int) -> bool:
    """Measure at rest, then while `count` runs go all the way; say whether that is in bounds."""
    world = make_world()
    try:
        with api() as port, worker(world):
            ask = Client(port)
            with measuring(port) as rest:
                time.sleep(REST_SECONDS)
            with measuring(port) as during:
                begun = time.monotonic()
                ship(ask, world, count)
                taken = time.monotonic() - begun
            runs = ask.get("/api/runs?limit=200")["results"]
    finally:
        world.close()
    print(f"{count} runs over {len(world.config.slots)} slots in {taken:.0f} s")
    return are_in_order(runs, count) & told(rest, during)


def make_world():
    """Make the host, and give the API and the worker that will be started its environment."""
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
def worker(world) -> Iterator[None]:
    """The worker as it is started, well."""
    with (world.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"], cwd=HOME, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 60
        while not is_well(world.config.worker_port):
            if time.monotonic() > until:
                raise TimeoutError("the worker does not get well")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def is_well(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/health")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


class Client:
    """Asks the API over one kept connection, as the operator of this host."""

    def __init__(self, port: int) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str) -> dict:
        return self._ask("GET", path, None)

    def post(self, path: str, **body: object) -> dict:
        return self._ask("POST", path, json.dumps(body))

    def _ask(self, method: str, path: str, body: str | None) -> dict:
        self.link.request(method, path, body, {"Content-Type": "application/json"})
        answer = self.link.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text!r}")
        return json.loads(text)


@contextmanager
def measuring(port: int) -> Iterator[Times]:
    """Ask each address in turns while the body lasts; yields the seconds they took."""
    taken: Times = {path: [] for path in PATHS}
    over = threading.Event()

    def measure() -> None:
        ask = Client(port)
        while not over.is_set():
            for path in PATHS:
                begun = time.perf_counter()
                ask.get(path)
                taken[path].append(time.perf_counter() - begun)
                time.sleep(PAUSE_SECONDS)

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(measure)
        try:
            yield taken
        finally:
            over.set()
        asking.result()  # an answer that was none ends the benchmark


def ship(ask: Client, world, count: int) -> None:
    """Make the runs, approve each as it becomes ready, and wait until all have ended."""
    for number in range(count):
        world.commit(f"crowd/{number}", {f"{number}.txt": str(number)})
        ask.post("/api/runs", title=f"run {number}", branch=f"crowd/{number}")
    until = time.monotonic() + RUN_SECONDS * count
    while time.monotonic() < until:
        runs = ask.get("/api/runs?limit=200")["results"]
        for run in runs:
            if run["status"] == "preview_ready":
                ask.post(f"/api/runs/{run['id']}/approve", commit_sha=run["commit_sha"])
        if all(run["ended_at"] for run in runs):
            return
        time.sleep(1)
    raise TimeoutError("not all runs have ended")


def are_in_order(runs: list[dict], count: int) -> bool:
    """Whether all are merged, each on top of the one that was approved before it."""
    runs = sorted(runs, key=lambda run: run["approved_at"])
    chain = all(two["base_sha"] == one["candidate_sha"] for one, two in pairwise(runs))
    merged = sum(run["status"] == "merged" for run in runs)
    print(f"merged {merged} of {count}, {'in' if chain else 'NOT in'} the order of approval")
    return chain and merged == count


def told(rest: Times, during: Times) -> bool:
    """Print the medians and 95th percentiles and say whether the medians are in bounds."""
    worst = 0.0
    for path in PATHS:
        (calm, calm_95), (busy, busy_95) = spread(rest[path]), spread(during[path])
        worst = max(worst, busy / calm)
        print(
            f"{path:12} at rest {calm:6.1f} ms, 95 % {calm_95:6.1f} ms   "
            f"during {busy:6.1f} ms, 95 % {busy_95:6.1f} ms   median {busy / calm:.2f}×, "
            f"95 % {busy_95 / calm_95:.2f}×  ({len(during[path])} answers)"
        )
    print(f"the slower median {worst:.2f}× (bound {RATIO})")
    return worst < RATIO


def spread(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile in milliseconds."""
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 20) else 1)
