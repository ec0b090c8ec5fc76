"""Acquire and release, measured: cycles per second at 1, 4 and 16 clients beside the bare SQL.

    python bench/leases.py [seconds]

Every client has a reservation of its own and does acquire + release over a kept connection to
gunicorn. One that is told its place in the line asks again. Beside it: the statements of the same
cycle in a loop on one connection, in this process.
"""

import json
import re
import socket
import sys
import threading
import time
import uuid
from collections import Counter

from service import NO_DISK, api, database

CLIENTS = (1, 4, 16)
# Who is told a place asks again the later, the further back it is.
ASK_AGAIN_SECONDS = 0.01
LENGTH = re.compile(rb"(?i)content-length: (\d+)")


def main(seconds: float) -> None:
    with database(NO_DISK):
        import django

        django.setup()
        raw = raw_cycles(seconds)
        print(f"raw SQL, one connection     {raw:8.0f} cycles/s")
        with api() as port:
            run_clients(port, 1, 1.0)  # warm
            for clients in CLIENTS:
                cycles, answers = run_clients(port, clients, seconds)
                print(
                    f"{clients:3} clients, gunicorn       {cycles / seconds:8.0f} "
                    f"cycles/s   answers {dict(answers)}"
                )
                check()


def raw_cycles(seconds: float) -> float:
    """The statements of acquire and release of one reservation, without the web."""
    from django.db import connection

    from runs.engine import enqueue
    from runs.leasing import grants, leases, reservations

    run_id = new_run()
    surroundings = {"is_open": True, "host": "local", "slots": 3, "line": "line"}
    values = {**leases.asking(run_id, actor="bench"), **surroundings, **enqueue.for_granted()}
    values |= {"fence": None, "code": "RELEASED", "words": "released", "reason": ""}
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        acquire = (grants.LOCK, leases.ENQUEUE, grants.GRANT, reservations.STANDING)
        [*_, [(_, _, _, slot_id, *_)]] = grants.fetch(*acquire, **values)
        grants.fetch(grants.LOCK, reservations.BACK_TO_QUEUE, grants.GRANT, slot=slot_id, **values)
        count += 1
    connection.close()
    return count / seconds


def run_clients(port: int, clients: int, seconds: float) -> tuple[int, Counter]:
    done = [Client(port) for _ in range(clients)]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=client.work, args=(until,)) for client in done]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = sum((client.answers for client in done), Counter())
    wrong = [status for status in answers if status >= 500]
    if wrong:
        raise SystemExit(f"answers of the server's fault: {wrong}")
    return sum(client.cycles for client in done), answers


class Client:
    """Speaks HTTP by hand: what a client's library costs is not what is measured."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.port = port
        self.body = json.dumps({"run_id": str(new_run())})
        self.cycles = 0
        self.answers: Counter = Counter()

    def work(self, until: float) -> None:
        slot_id = None
        while time.monotonic() < until:
            body = self.post("/api/slots/acquire")
            if not (slot_id := body.get("slot_id")):
                time.sleep(ASK_AGAIN_SECONDS * body["position"])
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
        head, _, body = self.received(b"\r\n\r\n").partition(b"\r\n\r\n")
        left = int(LENGTH.search(head)[1]) - len(body)
        while left > 0:
            body += (more := self.connection.recv(left))
            left -= len(more)
        self.answers[int(head.split(b" ", 2)[1])] += 1
        return json.loads(body)

    def received(self, end: bytes) -> bytes:
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


def check() -> None:
    """No slot may be lost: every waiter and holder of a bench that ended lets go."""
    from slots.models import Lease, Slot

    held = Lease.objects.filter(state="held").count()
    if held > Slot.objects.count():
        raise SystemExit("more leases than slots")
    Lease.objects.filter(state__in=("held", "waiting")).update(
        state="ended", ended_at="2026-01-01T00:00Z"
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
