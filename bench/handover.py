"""From a release to the next waiter's lease, with nobody polling: the median over 50 rounds.

    python bench/handover.py [rounds]

A second connection to PostgreSQL looks for the lease; the clock starts before the request is sent.
"""

import http.client
import json
import statistics
import sys
import threading
import time

from service import api, database

LIMIT_SECONDS = 0.1


def main(rounds: int) -> None:
    with database() as url:
        import django
        import psycopg

        django.setup()
        from leases import new_run

        with api() as port, psycopg.connect(url, autocommit=True) as watcher:
            connection = http.client.HTTPConnection("127.0.0.1", port)

            def post(path: str, run_id: str) -> dict:
                body = json.dumps({"run_id": run_id})
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                return json.loads(connection.getresponse().read())

            runs = [str(new_run()) for _ in range(rounds + 3)]
            slots = {run: post("/api/slots/acquire", run)["slot_id"] for run in runs}
            taken = []
            for run, after in zip(runs, runs[3:], strict=False):
                slot_id = slots[run]
                begun = time.perf_counter()
                release = threading.Thread(target=post, args=(f"/api/slots/{slot_id}/release", run))
                release.start()
                while not watcher.execute(
                    "SELECT FROM slots_lease WHERE run_id = %s AND state = 'held'", [after]
                ).rowcount:
                    pass
                taken.append(time.perf_counter() - begun)
                release.join()
                slots[after] = slot_id
    median = statistics.median(taken)
    print(
        f"release → the next waiter's lease: median {median * 1000:.1f} ms, "
        f"longest {max(taken) * 1000:.1f} ms, {len(taken)} rounds"
    )
    if median > LIMIT_SECONDS:
        raise SystemExit("slower than 100 ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
