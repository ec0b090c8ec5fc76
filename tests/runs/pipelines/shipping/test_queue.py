"""A real worker whose queue processes are killed or stopped."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import timedelta

import psutil
import pytest
import requests
from django.conf import settings
from django.db import connection
from django_q.models import Schedule
from django_q.scheduler import scheduler

from core.claims import CLAIM_SECONDS
from core.clock import get_database_time
from host.config import HOME
from host.files.file_lock import file_lock
from runs.lifecycle import operations, schedules
from runs.models import Event, Heartbeat, Run
from tests.environment import free_offset
from tests.runs.pipelines.shipping import tiny
from tests.runs.pipelines.shipping.conftest import opened
from tests.runs.pipelines.shipping.harness import Harness
from tests.runs.pipelines.shipping.processes import LOOK_SECONDS, OWN, sleepers, wait_until
from tests.runs.pipelines.shipping.world import World
from tests.system.host import is_queue_process

# The worker as it is started, with shorter limits for its cluster.
HASTY = """\
import django

django.setup()
from django.conf import settings
from core import claims
from runs.lifecycle import queue_health, queue_processes, schedules, supervisor

# A claim that the supervisor does not end is there for longer than the tests wait.
claims.CLAIM_SECONDS = 3600
queue_health.HEARTBEAT_SECONDS, queue_health.HEARTBEAT_MAX_AGE_SECONDS = 1.0, 6.0
queue_processes.GRACE_SECONDS, supervisor.STOP_SECONDS = {grace}, 2.0
queue_processes.LOSS_SECONDS = 6.0
supervisor.OVERDUE_CHECK_SECONDS, schedules.OVERDUE_INTERVALS = 1.0, {overdue}
supervisor.Supervisor(settings.OROBOROS).run()
"""
UNCHANGED = [sys.executable, "manage.py", "run_worker"]
ROLE = re.compile(r"(ready for work|monitoring) at (\d+)")
# Only previews have a database as they are built.
# Builds have the same variables everywhere: a preview's are told by its address.
SLEEP = f"4545{OWN}"
WAITS = f'case "$FRONTEND_URL" in *.preview*) sleep {SLEEP} || true;; esac\n'
BUILD = '[backend]\nbuild = "sh waits.sh"\n[checks]\nquick = "true"\n'


@pytest.fixture(scope="module")
def a_queue_world():
    made = World(
        tiny.files,
        OROBOROS_PRODUCTION_DATABASE="app_production_queue",
        OROBOROS_PORT_OFFSET=str(free_offset()),
        DEPLOY_HEALTH_SECONDS="0",
    )
    made.install_hook("post-receive", tiny.COUNT.format(folder=made.folder))
    yield made
    made.close()


@pytest.fixture
def host(a_queue_world, transactional_db, settings, monkeypatch):
    with opened(a_queue_world, settings, monkeypatch):
        yield a_queue_world


@pytest.fixture(params=["hasty", pytest.param("unchanged", marks=pytest.mark.full)])
def worker(request, host):
    """Start a worker and wait until its queue delivers."""
    with run_worker(host, is_hasty=request.param == "hasty") as made:
        yield made


@contextmanager
def run_worker(host, **options):
    made = Worker(host, **options)
    try:
        wait_until(lambda: made.health() == "ok")
        yield made
    finally:
        made.end()


class Worker:
    """The worker's process, and those of its queue."""

    def __init__(self, world, *, is_hasty, grace=15.0, overdue=3):
        self.world, self.is_hasty = world, is_hasty
        hasty = [sys.executable, "-c", HASTY.format(grace=grace, overdue=overdue)]
        argv = hasty if is_hasty else UNCHANGED
        self.log = world.config.var / "log" / "queue.log"
        self.log.unlink(missing_ok=True)
        name = connection.settings_dict["NAME"]
        url = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"
        env = {**world.config.environ, "DATABASE_URL": url, "PYTHONPATH": str(HOME)}
        env["DJANGO_SETTINGS_MODULE"] = "tests.runs.pipelines.shipping.queue_settings"
        with (world.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(argv, cwd=HOME, env=env, stdout=log, stderr=log)

    def read_health(self):
        """Return the answer of /health, or {} before the worker listens."""
        try:
            answer = self.world.get(self.world.config.worker_port, "/health")
        except requests.ConnectionError:
            return {}
        body = answer.json()
        assert (answer.status_code == 200) == (body["status"] == "ok"), answer.text
        return body

    def health(self):
        return self.read_health().get("status")

    def cluster(self):
        """Return the main process of the queue's cluster."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next((one for one in children if is_queue_process(one)), None)

    def of_role(self, role):
        """Return the living processes of the cluster with that role, by its log."""
        ours = {one.pid for one in self.cluster().children(recursive=True)}
        return [
            int(pid) for found, pid in ROLE.findall(self.log.read_text())
            if found == role and int(pid) in ours
        ]  # fmt: skip

    def idle(self):
        """Return the idle queue worker that reads the queue; the others wait for its lock."""
        calls = {pid: syscall(pid) for pid in self.of_role("ready for work")}
        alone = [pid for pid, call in calls.items() if [*calls.values()].count(call) == 1]
        all_wait = len(calls) == settings.Q_CLUSTER["workers"] and len(alone) == 1
        all_wait &= "" not in calls.values()  # a worker that ended after its task
        return alone[0] if all_wait else None

    def kill_idle(self):
        """SIGKILL that worker. It is stopped first, so that it takes no task before the signal."""
        victim = self.idle()
        if victim is None:
            return False
        os.kill(victim, signal.SIGSTOP)
        is_still = self.idle() == victim
        os.kill(victim, signal.SIGKILL if is_still else signal.SIGCONT)
        return is_still

    def end(self):
        """Stop the worker with SIGTERM, and check that no process of its queue is left."""
        try:
            assert self.cluster(), (self.world.folder / "worker.log").read_text()
            queue = processes_of(self.cluster())
            self.process.terminate()
            assert self.process.wait(120) == 0
            assert not psutil.wait_procs(queue, 60)[1]
        finally:
            self.process.kill()
            self.process.wait()


def syscall(pid):
    """Return the system call in which the process waits, "" if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0]
    return ""


def processes_of(cluster):
    """Return the cluster's own processes, without those that they started for a step."""
    children = cluster.children(recursive=True)
    return [cluster, *filter(is_queue_process, children)]


def make_run(world, name, files=None):
    branch = f"{name}/{world.commits()}"
    world.commit(branch, {"new.txt": branch, **(files or {})})
    return operations.create_run(title=branch, branch=branch, actor="ada")


def approve_when_ready(run):
    wait_until(lambda: Run.objects.get(pk=run.pk).status in ("preview_ready", "failed"))
    operations.approve(run, actor="grace")


def assert_merged_once(run, harness):
    wait_until(lambda: Run.objects.get(pk=run.pk).is_final)
    with suppress(AssertionError):  # the slot may still be cleaned after the merge
        wait_until(lambda: not differences(run, harness), 30)
    assert not (found := differences(run, harness)), "\n".join(found)


def differences(run, harness):
    """Return what differs from the expected state after a merge."""
    run.refresh_from_db()
    return [
        *harness._run(run, None),
        *harness._machine(),
        *harness._refs(run, True),
        *harness._live(run, run.candidate_sha),
    ]


@pytest.mark.root
@pytest.mark.parametrize(
    "victim", ["an idle worker", pytest.param("the monitor", marks=pytest.mark.full)]
)
def test_a_frozen_queue_is_reported_and_restarted(victim, worker, host, monkeypatch):
    harness = Harness(host, monkeypatch)
    before = processes_of(worker.cluster())
    if victim == "the monitor":
        os.kill(*worker.of_role("monitoring"), signal.SIGKILL)
    else:
        wait_until(worker.kill_idle)
    run = make_run(host, "frozen")
    wait_until(lambda: worker.health() == "queue_frozen")
    wait_until(lambda: worker.health() == "ok", 300)
    assert worker.cluster() not in before
    assert not psutil.wait_procs(before, 60)[1]
    approve_when_ready(run)
    assert_merged_once(run, harness)


def test_a_killed_cluster_leaves_no_process_and_repeats_no_step(worker, host, monkeypatch):
    harness = Harness(host, monkeypatch)
    run = make_run(host, "killed", {"waits.sh": WAITS, "oroboros.toml": BUILD})
    wait_until(lambda: sleepers(SLEEP))
    [first] = sleepers(SLEEP)
    before = processes_of(worker.cluster())
    before[0].kill()
    assert not psutil.wait_procs(before, 60)[1]
    wait_until(lambda: worker.cluster() not in (None, *before))
    # Before the claim would have expired by itself: the supervisor knows that its process is dead.
    seconds = LOOK_SECONDS if worker.is_hasty else CLAIM_SECONDS - 5
    wait_until(lambda: Run.objects.get(pk=run.pk).claim_fence == 2, seconds)
    wait_until(lambda: sleepers(SLEEP) not in ([], [first]))
    [second] = sleepers(SLEEP)
    os.kill(second, signal.SIGKILL)
    approve_when_ready(run)
    assert_merged_once(run, harness)
    repeated = {step.name: step.attempt for step in run.steps.all() if step.attempt > 1}
    assert repeated == {"build": 2}
    assert harness.pushes.read_text().split() == [run.candidate_sha]


def detail_of(schedule):
    row = Heartbeat.objects.filter(name=schedule.last_run_name).first()
    return row.detail if row else ""


def kinds():
    return [*Event.objects.filter(kind__startswith="schedule_").values_list("kind", flat=True)]


def enqueue_due_schedules():
    """Enqueue the schedules that are due, as the cluster does itself every 30 s."""
    Schedule.objects.update(next_run=get_database_time() - timedelta(seconds=1))
    scheduler()


def is_no_scheduled_task_running(host):
    with file_lock(host.config.var / "run" / "schedules.lock", seconds=0) as is_taken:
        return is_taken


def test_a_frozen_cluster_has_its_schedules_run_by_the_supervisor(host):
    reaper = schedules.BY_NAME["reaper"]
    with run_worker(host, is_hasty=True, grace=600.0, overdue=0.2) as worker:
        enqueue_due_schedules()
        wait_until(lambda: detail_of(reaper) == "0 leases ended")
        wait_until(lambda: worker.read_health()["overdue_schedules"] == [])
        stopped = processes_of(worker.cluster())
        for process in stopped:
            with suppress(psutil.NoSuchProcess):  # a worker that ended after its task
                process.suspend()
        try:
            wait_until(lambda: detail_of(reaper).endswith("(run by the supervisor)"))
            wait_until(lambda: worker.health() == "queue_frozen")
            assert "reaper" in worker.read_health()["overdue_schedules"]
            assert "schedule_overdue" in kinds()
            assert "has not run the schedule reaper" in (host.folder / "worker.log").read_text()
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        wait_until(lambda: worker.health() == "ok" and is_no_scheduled_task_running(host))
        enqueue_due_schedules()
        wait_until(lambda: "reaper" not in worker.read_health()["overdue_schedules"])
        assert "schedule_recovered" in kinds()
