"""Measures the same requests with a short queue and with a long one.

    python bench/queue_depth.py [rounds]

The long queue has 10,000 waiting runs and 1,000,000 events. Medians over the rounds, through
gunicorn, in one run: the grant (a release that gives the slot to the next waiting run), the list of
slots, and the first page of the list of runs. An acquire at the end of the queue is printed but has
no bound, because it counts the runs before it.
"""

import http.client
import json
import statistics
import time

from api_server import NO_DISK, api, database
from arguments import parse_one

WAITING_RUNS, EVENTS = 10_000, 1_000_000
LIMIT = 1.5
UNBOUNDED = "acquire, at the queue's end"
RUNS = """
INSERT INTO runs_run (id, title, branch, commit_sha, prepare, priority, created_by, created_at,
    status, generation, failure_code, failure_detail, next_action, stop_status, stop_code,
    stop_actor, stop_reason, claim_owner, claim_fence, attempts, base_sha, candidate_sha)
SELECT gen_random_uuid(), 'waits ' || n, '', '', false, 0, 'host', clock_timestamp(), 'queued', 1,
    '', '', '', '', '', '', '', '', 0, 0, '', ''
FROM generate_series(1, %s) AS n RETURNING id
"""
WAITING_LEASES = """
INSERT INTO slots_lease (run_id, state, priority, ttl_seconds, is_pinned, needs_cleanup,
    requested_at, waits_until, end_reason, cleanup_attempts, restarts)
SELECT id, 'waiting', 0, 14400, false, false, clock_timestamp(),
    clock_timestamp() + interval '1 day', '', 0, 0
FROM runs_run WHERE status = 'queued' AND NOT EXISTS (
    SELECT FROM slots_lease WHERE run_id = runs_run.id) ORDER BY created_at
"""
EVENTS_OF_RUNS = """
INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
SELECT run.id, '', clock_timestamp(), 'bench', 'requested', 'requested a slot', '{}'
FROM generate_series(1, %s / (SELECT count(*) FROM runs_run) + 1) AS n, runs_run AS run
"""


def main(rounds: int) -> None:
    with database(NO_DISK):
        import django

        django.setup()
        with api() as port:
            fill(rounds * 3, 0)
            short = measure(port, rounds)
            started_at = time.monotonic()
            fill(WAITING_RUNS - rounds * 4, EVENTS)
            print(f"filled in {time.monotonic() - started_at:.0f} s")
            long = measure(port, rounds)
    worst = 0.0
    for name, seconds in short.items():
        ratio = long[name] / seconds
        worst = worst if name == UNBOUNDED else max(worst, ratio)
        print(f"{name:28} {seconds * 1000:8.2f} ms   {long[name] * 1000:8.2f} ms   {ratio:5.2f}×")
    if worst > LIMIT:
        raise SystemExit(f"more than {LIMIT} times slower")


def fill(waiting: int, events: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(RUNS, [waiting])
        cursor.execute(WAITING_LEASES)
        if events:
            cursor.execute(EVENTS_OF_RUNS, [events])
        for table in ("runs_run", "slots_lease", "runs_event"):
            # As autovacuum would in time; without it the planner expects the small tables.
            cursor.execute(f"VACUUM ANALYZE {table}")


def measure(port: int, rounds: int) -> dict[str, float]:
    from lease_throughput import new_run

    connection = http.client.HTTPConnection("127.0.0.1", port)

    def request(method: str, path: str, body: dict | None = None) -> tuple[float, dict]:
        raw = None if body is None else json.dumps(body)
        started_at = time.perf_counter()
        connection.request(method, path, raw, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        taken = time.perf_counter() - started_at
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {text!r}")
        return taken, json.loads(text)

    request("POST", "/api/slots/reap-expired")  # grants what is free
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        seconds, slots = request("GET", "/api/slots")
        taken.setdefault("GET /api/slots", []).append(seconds)
        holder = slots[0]
        seconds, _ = request(
            "POST", f"/api/slots/{holder['slot_id']}/release", {"run_id": holder["run_id"]}
        )
        taken.setdefault("release, and the next granted", []).append(seconds)
        seconds, _ = request("GET", "/api/runs")
        taken.setdefault("GET /api/runs", []).append(seconds)
        seconds, _ = request("POST", "/api/slots/acquire", {"run_id": str(new_run())})
        taken.setdefault(UNBOUNDED, []).append(seconds)
    return {name: statistics.median(each) for name, each in taken.items()}


if __name__ == "__main__":
    main(parse_one(__doc__, "rounds", 100, "requests of each kind"))
