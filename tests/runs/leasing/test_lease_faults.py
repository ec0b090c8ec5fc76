"""Faults of leases, injected for real: stopped owners, lost answers, wrong clocks, crowds."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
import requests
from django.db import connections
from django.utils import timezone

from host.app.command_runner import CommandFailed, run_prepared
from runs.engine.step_context import PipelineStep
from runs.leasing import leases, reaper
from runs.lifecycle import execution, operations
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import LeaseState
from tests import service
from tests.factories import RunFactory
from tests.runs.conftest import Caller, together
from tests.slots import history

pytestmark = pytest.mark.django_db(transaction=True)

# A holder that beats until it is told no, five hundred times at most, and prints each answer.
OWNER = """
import http.client, json, sys, time
port, token, run, fence = sys.argv[1:]
for _ in range(500):
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    connection.request("POST", "/api/slots/preview-1/heartbeat",
        json.dumps({"run_id": run, "fence": int(fence)}),
        {"Authorization": token, "Content-Type": "application/json"})
    answer = connection.getresponse()
    print(json.dumps([answer.status, json.loads(answer.read())]), flush=True)
    if answer.status != 200:
        break
    time.sleep(0.02)
"""
SLEEPER = "import time; print('sleeping', flush=True); time.sleep(600)"


@pytest.fixture
def only_slot(settings):
    return Slot.objects.create(slot_id="preview-1", number=1, host=settings.HOST_NAME)


@pytest.fixture
def caller():
    return Caller("ci", "view", "hold", "operate")


def reservation(caller):
    return RunFactory(prepare=False, created_by=caller.name)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


def test_holder_that_was_stopped_past_its_expiry_is_fenced_at_its_next_write(
    only_slot, caller, live_server
):
    run, after = reservation(caller), reservation(caller)
    fence = caller.post("/api/slots/acquire", run_id=str(run.pk), ttl_seconds=60).json()["fence"]
    port = str(live_server.thread.port)
    argv = [sys.executable, "-c", OWNER, port, caller.authorization, str(run.pk), str(fence)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert json.loads(owner.stdout.readline())[0] == 200
        os.kill(owner.pid, signal.SIGSTOP)
        try:
            Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))
            caller.post("/api/slots/acquire", run_id=str(after.pk))
            assert caller.post("/api/slots/reap-expired").json()["expired_count"] == 1
            before = Lease.objects.filter(run=after).values().get()
            assert before["state"] == LeaseState.HELD
        finally:
            os.kill(owner.pid, signal.SIGCONT)
        said = [json.loads(text) for text in owner.stdout]
        assert owner.wait(60) == 0
    assert (said[-1][0], said[-1][1]["error"]) == (409, "lease_fenced")
    assert Lease.objects.filter(run=after).values().get() == before
    assert history.find_faults(history.read_history()) == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_wrong_clock_of_the_application_changes_nothing(only_slot, caller, monkeypatch, hours):
    real_time, real_now = time.time, timezone.now
    monkeypatch.setattr(time, "time", lambda: real_time() + hours * 3600)
    monkeypatch.setattr(timezone, "now", lambda: real_now() + timedelta(hours=hours))
    run, after = reservation(caller), reservation(caller)
    for each in (run, after):
        caller.post("/api/slots/acquire", run_id=str(each.pk), ttl_seconds=60)
    assert caller.post("/api/slots/reap-expired").json()["expired_count"] == 0
    lease = Lease.objects.get(run=run)
    assert timedelta(seconds=10) < lease.expires_at - real_now() <= timedelta(seconds=60)
    assert caller.post("/api/slots/preview-1/heartbeat", run_id=str(run.pk)).status_code == 200
    waiting = Lease.objects.get(run=after)
    assert timedelta(seconds=10) < waiting.waits_until - real_now() <= timedelta(seconds=60)
    Lease.objects.filter(run=run).update(expires_at=real_now() - timedelta(seconds=1))
    assert caller.post("/api/slots/reap-expired").json()["expired_slots"] == ["preview-1"]


def test_fifty_clients_acquire_three_slots_twice(settings, caller):
    crowd(settings, caller, rounds=2)


@pytest.mark.full
def test_fifty_clients_of_gunicorn_acquire_three_slots_ten_times(settings, caller):
    with service.api(ADMISSION_FREE_MEMORY_MB="0", ADMISSION_FREE_DISK_MB="0") as port:
        crowd(settings, Remote(caller, port), rounds=10)


class Remote:
    """The caller from another process, over connections of its own."""

    def __init__(self, caller, port):
        self.name, self.address = caller.name, f"http://127.0.0.1:{port}"
        self.headers = {"Authorization": caller.authorization}

    def post(self, path, **body):
        return requests.post(self.address + path, json=body, headers=self.headers, timeout=60)


def crowd(settings, caller, rounds):
    """On a fresh database and again after traffic: no error, all are granted in order."""
    for slot in settings.OROBOROS.slots:
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host=settings.HOST_NAME)
    for _ in range(rounds):
        runs = [reservation(caller) for _ in range(50)]
        answers = together(lambda run: caller.post("/api/slots/acquire", run_id=str(run.pk)), runs)
        assert [answer.status_code for answer in answers] == [200] * 50
        told = [answer.json() for answer in answers]
        assert sorted(each["slot_id"] for each in told if each["acquired"]) == [
            "preview-1",
            "preview-2",
            "preview-3",
        ]
        places = [each["position"] for each in told if not each["acquired"]]
        assert sorted(places) == list(range(1, 48))
        while held := list(Lease.objects.filter(state=LeaseState.HELD).select_related("slot")):
            answers = together(let_go(caller), held)
            assert [answer.status_code for answer in answers] == [200] * len(held)
        assert not Lease.objects.exclude(state=LeaseState.ENDED).exists()
        assert history.find_faults(history.read_history()) == []


def let_go(caller):
    return lambda lease: caller.post(
        f"/api/slots/{lease.slot.slot_id}/release", run_id=str(lease.run_id)
    )


def test_lease_that_expires_during_preparation_stops_the_commands_first(
    only_slot, cleaner, settings, tmp_path, monkeypatch
):
    started = tmp_path / "pid"

    def work(context):
        code = f"import os; open({str(started)!r}, 'w').write(str(os.getpid()))\n{SLEEPER}"
        with pytest.raises(CommandFailed):
            run_prepared(
                "sleeps",
                [sys.executable, "-c", code],
                cwd=tmp_path,
                env={"PATH": os.defpath},
                log=context.log,
                user=None,
                timeout=60.0,
                stop=context.is_stopping,
            )
        context.raise_if_stopping()

    step = PipelineStep("worktree", work, lambda context: None)
    monkeypatch.setattr(execution, "get_pending_steps", lambda config, run: [step])
    run, after = RunFactory(), RunFactory()
    for each in (run, after):
        leases.request_slot(each, actor="alice")
    worker = threading.Thread(target=execute, args=(run.pk,))
    worker.start()
    wait_for(lambda: started.exists() and started.read_text())
    pid = int(started.read_text())
    Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert reaper.reap_expired().slot_ids == ["preview-1"]
    worker.join(60)
    assert not worker.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.failure_code) == (Status.EXPIRED, "PREVIEW_EXPIRED")
    assert cleaner.seen == ["preview-1"]
    assert Lease.objects.get(run=after).state == LeaseState.HELD
    assert Event.objects.filter(run=run, kind="lease_ended").count() == 1
    assert history.find_faults(history.read_history()) == []


def execute(run_id):
    try:
        execution.execute_run(run_id)
    finally:
        connections.close_all()


def test_approval_with_an_expired_lease_is_refused(only_slot):
    """Shipping holds its lease or has not begun: an approval of what is over is refused."""
    run = RunFactory()
    leases.request_slot(run, actor="alice")
    Run.objects.filter(pk=run.pk).update(status=Status.PREVIEW_READY)
    Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(leases.Refused, match="The lease is over"):
        operations.approve(run, actor="bob")
    assert Run.objects.get(pk=run.pk).status == Status.PREVIEW_READY
    assert not run.approvals.exists()


def test_lease_of_a_shipping_run_outlives_its_ttl(only_slot, cleaner):
    run = RunFactory()
    leases.request_slot(run, actor="alice")
    Run.objects.filter(pk=run.pk).update(status=Status.PREVIEW_READY)
    operations.approve(run, actor="bob")
    Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert reaper.reap_expired().slot_ids == []
    assert Lease.objects.get(run=run).state == LeaseState.HELD
