"""Measures cycles of acquire and release per second with 1, 4 and 16 clients, and with SQL alone.

    python bench/lease_throughput.py [seconds]

Each client has a reservation of its own, and sends acquire and release over one connection to
gunicorn. A client that gets a position in the queue sends acquire again. For comparison, the SQL
statements of the same cycle run in a loop on one connection of this process.
"""

import json
import re
import socket
import sys
import threading
import time
import uuid
from collections import Counter

from api_server import NO_DISK, api, database
from arguments import parse_one

CLIENTS = (1, 4, 16)
# Times its position, a waiting client waits before it sends acquire again.
RETRY_SECONDS = 0.01
LENGTH = re.compile(rb"(?i)content-length: (\d+)")


def main(seconds: float) -> None:
    with database(NO_DISK):
        import django

        django.setup()
        raw = run_raw_sql(seconds)
        print(f"raw SQL, one connection     {raw:8.0f} cycles/s")
        with api() as port:
            run_clients(port, 1, 1.0)  # opens the connections and prepares the statements
            for clients in CLIENTS:
                cycles, responses = run_clients(port, clients, seconds)
                print(
                    f"{clients:3} clients, gunicorn       {cycles / seconds:8.0f} "
                    f"cycles/s   responses {dict(responses)}"
                )
                end_leases()


def run_raw_sql(seconds: float) -> float:
    """Return the cycles per second of one reservation's SQL, without HTTP."""
    from django.db import connection

    from core.prepared_statements import fetch
    from runs.engine.enqueue import build_grant_task
    from runs.leasing import leases, sql

    run_id = new_run()
    values = {
        **leases.build_request(run_id, actor="bench"),
        **build_grant_task(),
        "granter": "queue",
        "host": "local",
        "is_open": True,
        "slots": 3,
        "fence": None,
        "code": "RELEASED",
        "text": "released",
        "reason": "",
    }
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        acquire = (sql.TAKE_GRANT_LOCK, sql.REQUEST_SLOT, sql.GRANT_SLOTS, sql.READ_RESERVATION)
        [*_, [(_, _, _, slot_id, *_)]] = fetch(*acquire, **values)
        release = (sql.TAKE_GRANT_LOCK, sql.RELEASE_RESERVATION, sql.GRANT_SLOTS)
        fetch(*release, slot=slot_id, **values)
        count += 1
    connection.close()
    return count / seconds


def run_clients(port: int, clients: int, seconds: float) -> tuple[int, Counter]:
    all_clients = [Client(port) for _ in range(clients)]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=client.run_cycles, args=(until,)) for client in all_clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    responses = sum((client.responses for client in all_clients), Counter())
    errors = [status for status in responses if status >= 500]
    if errors:
        raise SystemExit(f"server errors: {errors}")
    return sum(client.cycles for client in all_clients), responses


class Client:
    """Sends HTTP over a plain socket: the cost of an HTTP library is not to be measured."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.port = port
        self.body = json.dumps({"run_id": str(new_run())})
        self.cycles = 0
        self.responses: Counter = Counter()

    def run_cycles(self, until: float) -> None:
        slot_id = None
        while time.monotonic() < until:
            body = self.post("/api/slots/acquire")
            if not (slot_id := body.get("slot_id")):
                time.sleep(RETRY_SECONDS * body["position"])
                continue
            self.post(f"/api/slots/{slot_id}/release")
            self.cycles += 1
        self.connection.close()

    def post(self, path: str) -> dict:
        self.connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
            f"{self.body}".encode()
        )
        head, _, body = self.receive_until(b"\r\n\r\n").partition(b"\r\n\r\n")
        left = int(LENGTH.search(head)[1]) - len(body)
        while left > 0:
            body += (more := self.connection.recv(left))
            left -= len(more)
        self.responses[int(head.split(b" ", 2)[1])] += 1
        return json.loads(body)

    def receive_until(self, end: bytes) -> bytes:
        text = b""
        while end not in text:
            text += self.connection.recv(65536) or sys.exit("the API closed the connection")
        return text


def new_run() -> uuid.UUID:
    from core.clock import ClockTimestamp
    from runs.models import Run

    return Run.objects.create(
        title="bench", prepare=False, created_by="host", created_at=ClockTimestamp()
    ).pk


def end_leases() -> None:
    """End all leases of the clients; exit if more leases are held than there are slots."""
    from slots.models import Lease, Slot

    held = Lease.objects.filter(state="held").count()
    if held > Slot.objects.count():
        raise SystemExit("more leases than slots")
    Lease.objects.filter(state__in=("held", "waiting")).update(
        state="ended", ended_at="2026-01-01T00:00Z"
    )


if __name__ == "__main__":
    main(parse_one(__doc__, "seconds", 10.0, "how long each number of clients runs"))
