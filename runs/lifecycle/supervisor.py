"""The worker's supervisor: keeps the queue's cluster alive and tells the truth about it.

django-q2 delivers; what is to be done is in the journal. A killed idle queue worker can freeze a
whole cluster without a word, so a canary goes through the queue, and a cluster in which it no
longer sings while nobody works is ended and started again. The sweep, the reaper and the reconciler
run here and not in the queue, so that a frozen queue does not stop them.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django_q.models import Task
from django_q.tasks import async_task

from core.claims import CLAIM_SECONDS
from core.clock import database_time
from host.config import Config
from host.errors import Refused
from host.process import runner
from host.process.runner import Identity
from runs.leasing import backend_supervision, reaper
from runs.lifecycle import branch_watch, operations, reconciler, retention
from runs.models import Beat, Run
from runs.pipelines import template_databases

log = logging.getLogger(__name__)

CANARY = "canary"
CANARY_SECONDS = 5.0
CANARY_FRESH_SECONDS = 30.0
# A claim renewed so recently shows that its queue worker lives, however long its step takes.
CLAIM_FRESH_SECONDS = 15.0
# A cluster that starts needs a while before the first canary can be back.
GRACE_SECONDS = 45.0
TICK_SECONDS = 1.0
STOP_SECONDS = 20.0
WATCHDOG = "WATCHDOG=1"


def is_alive(canary: datetime | None, busy: int, workers: int, at: datetime) -> bool:
    """Return whether the queue works: a canary came through lately, or every worker is at work."""
    fresh = canary is not None and at - canary < timedelta(seconds=CANARY_FRESH_SECONDS)
    return fresh or busy >= workers


def sing() -> None:
    """The canary, run by a queue worker; whether it sang is for the monitor to say."""


def hear(task: Task) -> None:
    """The canary's hook, run by the queue's monitor: note that the whole queue works just now.

    A monitor that is stuck would let the queue go on and acknowledge nothing.
    """
    Beat.objects.update_or_create(name=CANARY, defaults={"at": database_time()})


def send_canary() -> None:
    """Send the canary through the queue."""
    async_task(
        "runs.lifecycle.supervisor.sing", hook="runs.lifecycle.supervisor.hear", group=CANARY
    )


def state() -> dict[str, object]:
    """Return what /health says, read from the database now. Raises DatabaseError."""
    at = database_time()
    canary = Beat.objects.filter(name=CANARY).values_list("at", flat=True).first()
    renewed = at + timedelta(seconds=CLAIM_SECONDS - CLAIM_FRESH_SECONDS)
    busy = Run.objects.filter(claim_expires_at__gt=renewed).count()
    alive = is_alive(canary, busy, settings.Q_CLUSTER["workers"], at)
    return {
        "status": "ok" if alive else "queue_frozen",
        "canary_age_seconds": None if canary is None else round((at - canary).total_seconds(), 1),
        "busy": busy,
        "workers": settings.Q_CLUSTER["workers"],
    }


@dataclass
class Chore:
    """Something done again and again; `seconds` between two times."""

    seconds: float
    work: Callable[[], object]
    due: float = 0.0
    thread: threading.Thread | None = None

    def step(self, now: float) -> None:
        """Do it if it is due. An accident is logged and the next time is another try."""
        if now < self.due:
            return
        self.due = now + self.seconds
        try:
            self.work()
        except (DatabaseError, Refused, OSError):
            log.exception("a chore failed; it is tried again in %.0f s", self.seconds)
            connection.close()


class Worker:
    """One worker of this host: `run` until SIGTERM; tests call `step`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.shutdown = threading.Event()
        self.cluster: Identity | None = None
        self.started = 0.0
        self.chores = [
            Chore(1.0, operations.sweep),
            Chore(CANARY_SECONDS, send_canary),
            Chore(10.0, reaper.reap_expired),
            Chore(2.0, lambda: backend_supervision.notice_deaths(config)),
            Chore(2.0, lambda: reconciler.reconcile(config)),
            Chore(5.0, lambda: template_databases.keep_spare(config)),
            Chore(60.0, branch_watch.watch_branches),
            Chore(3600.0, lambda: retention.remove_unneeded(config)),
        ]

    def run(self) -> None:
        """Serve /health, keep the cluster, do the chores; on SIGTERM end them in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.shutdown.set())
        server = ThreadingHTTPServer(("127.0.0.1", self.config.worker_port), _Health)
        # Nobody is answered before the canary of an earlier cluster is forgotten.
        self._start_cluster()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.keep_chores()
        notify("READY=1")
        while not self.shutdown.wait(TICK_SECONDS):
            self.keep_chores()
            self.step()
        notify("STOPPING=1")
        self._stop_cluster()
        server.shutdown()

    def keep_chores(self) -> None:
        """Begin the chores, each in a thread of its own; again where a bug ended one."""
        for chore in self.chores:
            if chore.thread is None or not chore.thread.is_alive():
                chore.thread = threading.Thread(target=self._repeat, args=(chore,), daemon=True)
                chore.thread.start()

    def step(self) -> None:
        """Look after the cluster once: start a dead one, restart a frozen one."""
        if self.cluster is None or not runner.alive(self.cluster):
            code = self.cluster and runner.exit_code(self.cluster)
            log.error("the queue's cluster is gone (exit code %s); starting another", code)
            self._start_cluster()
        elif self._is_well():
            notify(WATCHDOG)
        elif time.monotonic() - self.started > GRACE_SECONDS:
            log.error("the queue no longer delivers; restarting its cluster")
            self._stop_cluster()
            self._start_cluster()

    def _is_well(self) -> bool:
        try:
            return state()["status"] == "ok"
        except DatabaseError:
            connection.close()
            return True  # the database is away: not the cluster's fault, and nothing it could mend

    def _repeat(self, chore: Chore) -> None:
        """Do one chore again and again: no other that hangs delays it."""
        try:
            while not self.shutdown.wait(0.2):
                chore.step(time.monotonic())
        finally:
            connections.close_all()

    def _start_cluster(self) -> None:
        argv = [sys.executable, str(self.config.home / "manage.py"), "run_queue"]
        output = self.config.var / "log" / "queue.log"
        output.parent.mkdir(parents=True, exist_ok=True)
        with suppress(DatabaseError):  # what an earlier cluster sang says nothing of this one
            Beat.objects.filter(name=CANARY).delete()
        self.cluster = runner.spawn(
            argv, cwd=self.config.home, env=dict(os.environ), user=None, log=output, tied=True
        )
        self.started = time.monotonic()

    def _stop_cluster(self) -> None:
        if self.cluster is not None:
            # Its children must not be signalled too: it waits for ever for one that dies first.
            runner.stop(self.cluster, grace=STOP_SECONDS, leader_only=True)
            self.cluster = None


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in ("/health", "/healthz", "/readyz"):
            self.send_error(404)
            return
        try:
            body = state()
        except DatabaseError:
            body = {"status": "database_unavailable"}
        finally:
            connections.close_all()
        raw = json.dumps(body).encode()
        self.send_response(200 if body["status"] == "ok" else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        """Health probes are no news."""


def notify(message: str) -> None:
    """Tell systemd (sd_notify) where it listens; nothing happens elsewhere."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(address)
        channel.sendall(message.encode())
