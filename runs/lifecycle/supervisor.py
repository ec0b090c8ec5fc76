"""The worker's supervisor: it keeps the queue's cluster running and reports whether it delivers.

If the heartbeat is older than 30 s and some queue worker is not busy, the cluster is restarted.
What must happen within seconds, or even while the queue is stuck, is done by threads in this
process: docs/decisions/0015 says which periodic work is done where.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, connections
from django.utils.module_loading import import_string
from django_q.cluster import Cluster

from core import outages
from core.shared_connections import SharedConnections
from host import loopback
from host.config import Config
from host.errors import Refused
from host.files import log_files
from host.process import runner, shutdown
from host.process.fork_server import ForkServer
from host.process.process_id import ProcessId
from runs.engine.artifacts import create_log_path
from runs.leasing import backend_supervision, process_ends, reaper, services
from runs.lifecycle import execution, queue_health, queue_processes, reconciler, schedules
from runs.lifecycle.production_watch import ProductionWatch
from runs.lifecycle.queue_processes import QueueProcesses, RetiredProcesses
from runs.mail import sink
from runs.pipelines import template_databases
from runs.prechecks import execution as prechecks
from runs.screenshots import execution as screenshots

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
# Each look is four queries, and a heartbeat may be 30 s old. After a loss: at each tick.
DELIVERY_CHECK_SECONDS = 5.0
# For work that does not look whether it is to stop, such as a copy of a database.
STOP_SECONDS = 5.0
# A cluster that does not deliver would wait for ever for its workers: it is not waited for.
STUCK_STOP_SECONDS = 3.0
OVERDUE_CHECK_SECONDS = 10.0
# Between two runs of a periodic task, so that one without a pause leaves time for others.
MIN_PAUSE_SECONDS = 0.05
# Of the threads of the periodic tasks: at rest two of them seldom need one at the same time.
OPEN_CONNECTIONS = 3
WATCHDOG = "WATCHDOG=1"
# The name of the queue's processes in `ps -o comm` and `pgrep -x`.
QUEUE_PROCESS_NAME = "queue"
MAIL_PROCESS_NAME = "mail"


@dataclass
class PeriodicTask:
    """A function that a thread of the supervisor calls every `seconds`."""

    name: str
    seconds: float
    run: Callable[[], object]
    due: float = 0.0
    thread: threading.Thread | None = None
    # The kind of error that it ends with time after time; "" if its last run succeeded.
    failing: str = ""

    def run_if_due(self, now: float) -> None:
        """Run it if it is due. The next run is the next attempt after an error.

        Of errors of one kind that follow each other the first is logged, and then its end.
        """
        if now < self.due:
            return
        self.due = now + self.seconds
        try:
            self.run()
        except (DatabaseError, InterfaceError, Refused, OSError) as error:
            self._report(error)
            connection.close()
        else:
            self._report_success()

    def compute_pause(self, now: float) -> float:
        """Return the seconds until its next run."""
        return max(self.due - now, MIN_PAUSE_SECONDS)

    def _report(self, error: Exception) -> None:
        kind = error.code if isinstance(error, Refused) else type(error).__name__
        if outages.absorb(error) or kind == self.failing:
            return
        self.failing = kind
        # A refusal and an error of the operating system say what is wrong themselves.
        log.error(
            "%s failed; it is tried again every %.0f s, and only the end of this is said: %s",
            self.name,
            self.seconds,
            error,
            exc_info=isinstance(error, DatabaseError),
        )

    def _report_success(self) -> None:
        if self.failing:
            log.warning("%s works again.", self.name)
            self.failing = ""


def trim_logs(config: Config) -> None:
    """Trim the logs of all that runs here: control plane, surfaces, applications, PostgreSQL."""
    for path in (*(config.var / "log").rglob("*.log"), config.var / "postgres" / "postgres.log"):
        if log_files.trim(path):
            log.info("%s had become too large: its end is %s.1 now", path, path)


def run_cluster(retired: RetiredProcesses) -> None:
    """Run django-q2's cluster until SIGTERM stops it."""
    queue_processes.retire_workers(retired, light=queue_health.deliver_heartbeat)
    cluster = Cluster()
    cluster.start()
    cluster.sentinel.join()


class Supervisor:
    """The supervisor of this host's worker: `run` returns after SIGTERM; tests call `step`."""

    # Made by `run`.
    queue_processes: ForkServer
    mail_processes: ForkServer

    def __init__(self, config: Config) -> None:
        self.config = config
        self.shutdown = threading.Event()
        self.created = time.monotonic()
        self.delivery_due = self.created
        self.cluster: ProcessId | None = None
        self.mail_sink: ProcessId | None = None
        self.retired = RetiredProcesses()
        self.processes = QueueProcesses(started=0.0)
        self.connections = SharedConnections(OPEN_CONNECTIONS)
        self.periodic_tasks = [
            PeriodicTask("enqueueing unclaimed runs", 1.0, execution.enqueue_unclaimed_runs),
            PeriodicTask("prechecks", 2.0, partial(prechecks.sweep, config)),
            PeriodicTask("screenshots", 2.0, partial(screenshots.sweep, config)),
            PeriodicTask(
                "the heartbeat", queue_health.HEARTBEAT_SECONDS, queue_health.send_heartbeat
            ),
            PeriodicTask("the reaper", 2.0, reaper.reap_expired),
            PeriodicTask(
                "backend supervision", 2.0, partial(backend_supervision.check_backends, config)
            ),
            PeriodicTask("ended processes", 1.0, partial(process_ends.report_ends, config)),
            PeriodicTask("dead units", 1.0, partial(reconciler.start_dead_units, config)),
            PeriodicTask("services", 1.0, partial(services.restart_dead_servers, config)),
            PeriodicTask("disk usage", 15.0, partial(backend_supervision.check_disk_usage, config)),
            PeriodicTask("local ports", 1.0, partial(reconciler.free_local_ports, config)),
            PeriodicTask("quick repair", 2.0, partial(reconciler.repair_quickly, config)),
            # Apart from the quick repair, which waits for previews that do not answer.
            PeriodicTask("production", 2.0, partial(reconciler.repair_production, config)),
            PeriodicTask("the watch of production", 5.0, ProductionWatch(config).check),
            # In a thread of its own, because it waits for the health gate of what it continues.
            PeriodicTask(
                "interrupted deployments", 5.0, partial(reconciler.continue_deployments, config)
            ),
            PeriodicTask("the queue's rows", 10.0, queue_health.delete_taken_tasks),
            PeriodicTask("the watch of an outage", 5.0, outages.resume),
            PeriodicTask("the rotation of logs", 5.0, partial(trim_logs, config)),
            PeriodicTask("the spare copy", 5.0, partial(template_databases.ensure_spare, config)),
            *map(self._watch_schedule, schedules.SCHEDULED_TASKS),
            *(
                PeriodicTask(name, seconds, partial(import_string(function), config))
                for name, seconds, function in settings.WORKER_TASKS
            ),
        ]

    def run(self) -> None:
        """Serve /health, run the cluster and the periodic tasks; end them in order on SIGTERM."""
        # First, since it must be forked before there are threads, and without a connection.
        connections.close_all()
        shutdown.watch()
        self.queue_processes = ForkServer(QUEUE_PROCESS_NAME, partial(run_cluster, self.retired))
        self.mail_processes = ForkServer(MAIL_PROCESS_NAME, partial(sink.run_sink, self.config))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.begin_shutdown())
        servers = _create_health_servers(self.config.worker_port)
        # Before the first request: it deletes the heartbeat of an earlier cluster.
        self._start_cluster()
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.ensure_mail_sink()
        self.ensure_threads()
        notify_systemd("READY=1")
        while not self.shutdown.wait(TICK_SECONDS):
            self.ensure_mail_sink()
            self.ensure_threads()
            self.step()
        notify_systemd("STOPPING=1")
        self._end_work()
        for server in servers:
            server.shutdown()

    def begin_shutdown(self) -> None:
        """Have every process of this worker stop what it does: the next worker continues it."""
        shutdown.begin()
        self.shutdown.set()

    def _end_work(self) -> None:
        """End the cluster, and the claims of what it did not stop in time."""
        cluster = self.cluster
        self._stop_cluster()
        with suppress(DatabaseError):  # the claims expire by themselves
            queue_processes.expire_claims(os.getsid(0), [os.getpid()], is_shutdown=True)
            if cluster is not None:
                queue_processes.expire_claims(cluster.pid, is_shutdown=True)

    def ensure_threads(self) -> None:
        """Start a thread for each periodic task that has none, or whose thread a bug ended."""
        for task in self.periodic_tasks:
            if task.thread is None or not task.thread.is_alive():
                task.thread = threading.Thread(target=self._repeat, args=(task,), daemon=True)
                task.thread.start()

    def ensure_mail_sink(self) -> None:
        """Start the previews' mail sink unless it runs."""
        if self.mail_sink is None or not self.mail_sink.is_alive():
            self.mail_sink = self.mail_processes.fork(create_log_path(self.config, "mail"))

    def step(self) -> None:
        """Check the cluster once: start it if it is dead, restart it if it is stuck."""
        now = time.monotonic()
        if self.cluster is None or not self.cluster.is_alive():
            log.error("the queue's cluster has ended; starting it again")
            self._restart_cluster()
            return
        if lost := self.processes.update(self.cluster, now):
            self._release_claims(self.cluster, [one.pid for one in lost])
        if now < self.delivery_due and not self.processes.is_suspicious(now):
            return
        self.delivery_due = now + DELIVERY_CHECK_SECONDS
        if self._is_delivering(self.processes.find_max_age(now)):
            notify_systemd(WATCHDOG)
        elif self.processes.is_restart_due(now):
            log.error("the queue no longer delivers; restarting its cluster")
            self._restart_cluster()

    def _release_claims(self, cluster: ProcessId, pids: list[int] | None = None) -> None:
        """Let what a cluster worked on, or its processes of these pids, be claimed at once."""
        try:
            # By its session, since a process may have been forked after the last look at them.
            count = queue_processes.expire_claims(cluster.pid, pids)
        except DatabaseError:  # the claims expire by themselves
            connection.close()
            return
        if count:
            log.warning("%d claims of queue processes that were killed have ended", count)

    def _is_delivering(self, max_age: float) -> bool:
        try:
            return queue_health.read_queue_health(max_age)["status"] == "ok"
        except DatabaseError:
            connection.close()
            return True  # a restart of the cluster does not bring the database back

    def _watch_schedule(self, task: schedules.ScheduledTask) -> PeriodicTask:
        """Return the periodic task that runs a schedule's task where the queue does not."""

        def run() -> None:
            uptime = time.monotonic() - self.created
            schedules.run_if_overdue(self.config, task, uptime=uptime)

        return PeriodicTask(f"the check of the schedule {task.name}", OVERDUE_CHECK_SECONDS, run)

    def _repeat(self, task: PeriodicTask) -> None:
        """Run one periodic task until the shutdown. Each has a thread, so none delays another."""
        try:
            while not self.shutdown.wait(task.compute_pause(time.monotonic())):
                with self.connections.lend():
                    task.run_if_due(time.monotonic())
        finally:
            self.connections.close()

    def _start_cluster(self) -> None:
        with suppress(DatabaseError):
            queue_health.forget_heartbeat()
            schedules.sync_schedules()
            # Of a worker that was killed with all its processes, which said nothing of its end.
            if count := queue_processes.expire_claims_of_dead_processes():
                log.warning("%d claims of processes that do not exist any more have ended", count)
        self.cluster = self.queue_processes.fork(create_log_path(self.config, "queue"))
        self.processes = QueueProcesses(started=time.monotonic(), retired=self.retired)

    def _restart_cluster(self) -> None:
        """Start the cluster again, after the end of what is left of the last one."""
        if self.cluster is not None:
            last = self.cluster
            self._stop_cluster(STUCK_STOP_SECONDS)
            self._release_claims(last)
        self._start_cluster()

    def _stop_cluster(self, grace: float = STOP_SECONDS) -> None:
        if self.cluster is not None:
            # Not its children: the sentinel would wait for ever for a child that died first.
            runner.stop(self.cluster, grace=grace, leader_only=True)
            # Without their sentinel they would go on, unwatched, beside the next cluster.
            self.processes.kill_members()
            self.cluster = None


class _HealthHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in ("/health", "/healthz", "/readyz"):
            self.send_error(404)
            return
        try:
            body = queue_health.read_queue_health()
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
        """Log nothing: a probe comes every few seconds."""


class _HealthServer(ThreadingHTTPServer):
    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _HealthHandler)


def _create_health_servers(port: int) -> list[_HealthServer]:
    return [_HealthServer(address, port) for address in loopback.list_loopbacks()]


def notify_systemd(message: str) -> None:
    """Send a message to systemd (sd_notify). Without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        # An abstract socket: its address begins with a null byte, which no variable can hold.
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(address)
        channel.sendall(message.encode())
