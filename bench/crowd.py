"""What a crowd costs: the same requests on an almost empty database and on a full one.

    python bench/crowd.py [rounds]

Full means 10,000 waiting runs and 1,000,000 events. Medians over the rounds, through gunicorn, in
one run: the grant (a release that hands the slot to the next in line), the list of slots, the first
page of the list of runs. An acquire that ends at the end of the line is told beside them; it is
not judged, since it counts those before it.
"""

import http.client
import json
import statistics
import sys
import time

from service import NO_DISK, api, database

WAITING, EVENTS = 10_000, 1_000_000
LIMIT = 1.5
COUNTS = "acquire, at the line's end"
FEW = """
INSERT INTO runs_run (id, title, branch, commit_sha, prepare, priority, created_by, created_at,
    status, generation, failure_code, failure_detail, next_action, stop_status, stop_code,
    stop_actor, stop_reason, claim_owner, claim_fence, attempts, base_sha, candidate_sha)
SELECT gen_random_uuid(), 'waits ' || n, '', '', false, 0, 'host', clock_timestamp(), 'queued', 1,
    '', '', '', '', '', '', '', '', 0, 0, '', ''
FROM generate_series(1, %s) AS n RETURNING id
"""
LINE = """
INSERT INTO slots_lease (run_id, state, priority, ttl_seconds, is_pinned, is_occupied, asked_at,
    waits_until, end_reason, cleanings, restarts)
SELECT id, 'waiting', 0, 14400, false, false, clock_timestamp(),
    clock_timestamp() + interval '1 day', '', 0, 0
FROM runs_run WHERE status = 'queued' AND NOT EXISTS (
    SELECT FROM slots_lease WHERE run_id = runs_run.id) ORDER BY created_at
"""
HISTORY = """
INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
SELECT run.id, '', clock_timestamp(), 'bench', 'asked', 'asks for a slot', '{}'
FROM generate_series(1, %s / (SELECT count(*) FROM runs_run) + 1) AS n, runs_run AS run
"""


def main(rounds: int) -> None:
    with database(NO_DISK):
        import django

        django.setup()
        with api() as port:
            fill(rounds * 3, 0)
            first = measure(port, rounds)
            begun = time.monotonic()
            fill(WAITING - rounds * 4, EVENTS)
            print(f"filled in {time.monotonic() - begun:.0f} s")
            full = measure(port, rounds)
    worst = 0.0
    for name, few in first.items():
        ratio = full[name] / few
        worst = worst if name == COUNTS else max(worst, ratio)
        print(f"{name:28} {few * 1000:8.2f} ms   {full[name] * 1000:8.2f} ms   {ratio:5.2f}×")
    if worst > LIMIT:
        raise SystemExit(f"more than {LIMIT} times slower")


def fill(waiting: int, events: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(FEW, [waiting])
        cursor.execute(LINE)
        if events:
            cursor.execute(HISTORY, [events])
        for table in ("runs_run", "slots_lease", "runs_event"):
            cursor.execute(f"VACUUM ANALYZE {table}")


def measure(port: int, rounds: int) -> dict[str, float]:
    from leases import new_run

    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(method: str, path: str, body: dict | None = None) -> tuple[float, dict]:
        raw = None if body is None else json.dumps(body)
        begun = time.perf_counter()
        connection.request(method, path, raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        taken = time.perf_counter() - begun
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {text!r}")
        return taken, json.loads(text)

    ask("POST", "/api/slots/reap-expired")  # grants what is free
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        seconds, slots = ask("GET", "/api/slots")
        taken.setdefault("GET /api/slots", []).append(seconds)
        holder = slots[0]
        seconds, _ = ask(
            "POST", f"/api/slots/{holder['slot_id']}/release", {"run_id": holder["run_id"]}
        )
        taken.setdefault("release, and the next granted", []).append(seconds)
        seconds, _ = ask("GET", "/api/runs")
        taken.setdefault("GET /api/runs", []).append(seconds)
        seconds, _ = ask("POST", "/api/slots/acquire", {"run_id": str(new_run())})
        taken.setdefault(COUNTS, []).append(seconds)
    return {name: statistics.median(each) for name, each in taken.items()}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
