"""What becomes of the queue's own processes: a real worker, its cluster, and who is killed."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
import requests
from django.conf import settings
from django.db import connection

from host.config import HOME
from runs.lifecycle import operations
from runs.models import Run
from tests.runs.pipelines.shipping import tiny
from tests.runs.pipelines.shipping.conftest import opened
from tests.runs.pipelines.shipping.harness import Harness
from tests.runs.pipelines.shipping.processes import sleepers, wait_until
from tests.runs.pipelines.shipping.world import World
from tests.system.host import free_offset, words

# The worker as it is started, with the times after which it looks at its cluster made shorter.
HASTY = """\
import django

django.setup()
from django.conf import settings
from runs import worker

worker.CANARY_SECONDS, worker.CANARY_FRESH_SECONDS = 1.0, 6.0
worker.GRACE_SECONDS, worker.STOP_SECONDS = 15.0, 2.0
worker.Worker(settings.OROBOROS).run()
"""
AS_IT_IS = [sys.executable, "manage.py", "run_worker"]
ROLE = re.compile(r"(ready for work|monitoring) at (\d+)")
# Only previews have a database as they are built.
WAITS = 'test -z "$DATABASE_URL" || sleep 4545 || true\n'
SLEEP = "4545"
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


@pytest.fixture(params=["hasty", pytest.param("as it is", marks=pytest.mark.full)])
def worker(request, host):
    """A worker of its own process, well."""
    made = Worker(host, is_hasty=request.param == "hasty")
    try:
        wait_until(lambda: made.health() == "ok")
        yield made
    finally:
        made.end()


class Worker:
    """The worker's process, and those of its queue."""

    def __init__(self, world, *, is_hasty):
        self.world, self.is_hasty = world, is_hasty
        argv = [sys.executable, "-c", HASTY] if is_hasty else AS_IT_IS
        self.log = world.config.var / "log" / "queue.log"
        self.log.unlink(missing_ok=True)
        name = connection.settings_dict["NAME"]
        url = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"
        env = {**world.config.environ, "DATABASE_URL": url, "PYTHONPATH": str(HOME)}
        env["DJANGO_SETTINGS_MODULE"] = "oroboros.settings"
        with (world.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(argv, cwd=HOME, env=env, stdout=log, stderr=log)

    def health(self):
        """Return what /health says in one word, with its status checked against it."""
        try:
            answer = self.world.get(self.world.config.worker_port, "/health")
        except requests.ConnectionError:
            return None
        said = answer.json()["status"]
        assert (answer.status_code == 200) == (said == "ok"), answer.text
        return said

    def cluster(self):
        """Return the main process of the queue's cluster."""
        children = psutil.Process(self.process.pid).children()
        return next((one for one in children if "run_queue" in words(one)), None)

    def of_role(self, role):
        """Return the living processes of the cluster that log said to be that."""
        ours = {one.pid for one in self.cluster().children(recursive=True)}
        return [
            int(pid) for said, pid in ROLE.findall(self.log.read_text())
            if said == role and int(pid) in ours
        ]  # fmt: skip

    def idle(self):
        """Return the idle queue worker that the others wait for: it alone reads the queue."""
        calls = {pid: syscall(pid) for pid in self.of_role("ready for work")}
        alone = [pid for pid, call in calls.items() if [*calls.values()].count(call) == 1]
        all_wait = len(calls) == settings.Q_CLUSTER["workers"] and len(alone) == 1
        return alone[0] if all_wait else None

    def kill_idle(self):
        """SIGKILL that one: stopped first, so that no task comes to it between look and kill."""
        victim = self.idle()
        if victim is None:
            return False
        os.kill(victim, signal.SIGSTOP)
        is_still = self.idle() == victim
        os.kill(victim, signal.SIGKILL if is_still else signal.SIGCONT)
        return is_still

    def end(self):
        """End it as it is ended by those who stop it; nothing of its queue is left."""
        try:
            queue = processes_of(self.cluster())
            self.process.terminate()
            assert self.process.wait(40) == 0
            assert not psutil.wait_procs(queue, 10)[1]
        finally:
            self.process.kill()
            self.process.wait()


def syscall(pid):
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0]


def processes_of(cluster):
    """Return the queue's own processes: what they started for a step is not among them."""
    children = cluster.children(recursive=True)
    return [cluster, *(one for one in children if "run_queue" in words(one))]


def make_run(world, name, files=None):
    branch = f"{name}/{world.commits()}"
    world.commit(branch, {"new.txt": branch, **(files or {})})
    return operations.create_run(title=branch, branch=branch, actor="ada")


def approve_when_ready(run):
    wait_until(lambda: Run.objects.get(pk=run.pk).status in ("preview_ready", "failed"))
    operations.approve(run, actor="grace")


def assert_merged_once(run, harness):
    wait_until(lambda: Run.objects.get(pk=run.pk).is_final)
    with suppress(AssertionError):  # what is still to be cleaned is so within a moment
        wait_until(lambda: not left(run, harness), 30)
    assert not (found := left(run, harness)), "\n".join(found)


def left(run, harness):
    """Return what is not as it must be after the run was merged."""
    run.refresh_from_db()
    return [
        *harness._run(run, None),
        *harness._machine(),
        *harness._refs(run, True),
        *harness._live(run, run.candidate_sha),
    ]


@pytest.mark.root
@pytest.mark.parametrize("who", ["an idle worker", "the monitor"])
def test_a_queue_that_freezes_is_told_and_begun_anew(who, worker, host, monkeypatch):
    harness = Harness(host, monkeypatch)
    before = processes_of(worker.cluster())
    if who == "the monitor":
        os.kill(*worker.of_role("monitoring"), signal.SIGKILL)
    else:
        wait_until(worker.kill_idle)
    run = make_run(host, "frozen")
    wait_until(lambda: worker.health() == "queue_frozen")
    wait_until(lambda: worker.health() == "ok", 150)
    assert worker.cluster() not in before
    assert not psutil.wait_procs(before, 5)[1]
    approve_when_ready(run)
    assert_merged_once(run, harness)


def test_a_queue_whose_main_process_dies_leaves_nobody_and_nothing_twice(worker, host, monkeypatch):
    harness = Harness(host, monkeypatch)
    run = make_run(host, "killed", {"waits.sh": WAITS, "oroboros.toml": BUILD})
    wait_until(lambda: sleepers(SLEEP))
    [first] = sleepers(SLEEP)
    before = processes_of(worker.cluster())
    before[0].kill()
    assert not psutil.wait_procs(before, 10)[1]
    wait_until(lambda: worker.cluster() not in (None, *before))
    wait_until(lambda: worker.health() == "ok")
    assert Run.objects.get(pk=run.pk).claim_fence == 1  # of who was killed: it keeps others away
    if worker.is_hasty:
        harness.let_claims_run_out()
    wait_until(lambda: Run.objects.get(pk=run.pk).claim_fence == 2)
    wait_until(lambda: sleepers(SLEEP) not in ([], [first]))
    [second] = sleepers(SLEEP)  # the first is not left beside it
    os.kill(second, signal.SIGKILL)
    approve_when_ready(run)
    assert_merged_once(run, harness)
    again = {step.name: step.attempt for step in run.steps.all() if step.attempt > 1}
    assert again == {"build": 2}
    assert harness.pushes.read_text().split() == [run.candidate_sha]
