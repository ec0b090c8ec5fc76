"""Measures the time from a release to the next waiting run's lease, without a polling client.

    python bench/grant_latency.py [rounds]

The clock starts before the request is sent and stops when a second connection to PostgreSQL sees
the lease. The result is the median.
"""

import http.client
import json
import statistics
import threading
import time

from api_server import api, database
from arguments import parse_one

LIMIT_SECONDS = 0.1


def main(rounds: int) -> None:
    with database() as url:
        import django
        import psycopg

        django.setup()
        from lease_throughput import new_run

        with api() as port, psycopg.connect(url, autocommit=True) as watcher:
            connection = http.client.HTTPConnection("127.0.0.1", port)

            def post(path: str, run_id: str) -> dict:
                body = json.dumps({"run_id": run_id})
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                return json.loads(connection.getresponse().read())

            # Three runs get the slots; each release below grants the next one.
            runs = [str(new_run()) for _ in range(rounds + 3)]
            slots = {run: post("/api/slots/acquire", run)["slot_id"] for run in runs}
            taken = []
            for run, after in zip(runs, runs[3:], strict=False):
                slot_id = slots[run]
                started_at = time.perf_counter()
                release = threading.Thread(target=post, args=(f"/api/slots/{slot_id}/release", run))
                release.start()
                # A busy loop: a pause would be part of the result.
                while not watcher.execute(
                    "SELECT FROM slots_lease WHERE run_id = %s AND state = 'held'", [after]
                ).rowcount:
                    pass
                taken.append(time.perf_counter() - started_at)
                release.join()
                slots[after] = slot_id
    median = statistics.median(taken)
    print(
        f"release → the next run's lease: median {median * 1000:.1f} ms, "
        f"longest {max(taken) * 1000:.1f} ms, {len(taken)} rounds"
    )
    if median > LIMIT_SECONDS:
        raise SystemExit("slower than 100 ms")


if __name__ == "__main__":
    main(parse_one(__doc__, "rounds", 50, "releases"))
