"""A queue worker ends after its task, and is not taken for one that was killed."""

import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from host.config import HOME
from host.deadline import wait_until
from host.process import process_table
from host.process.process_id import ProcessId
from runs.lifecycle.queue_processes import RETIRED_AT_MOST, QueueProcesses, RetiredProcesses

# A worker of django-q2 that gets two heartbeats and another task. None of them needs a database.
PROGRAM = """
import json, multiprocessing, os
import django
django.setup()
from django_q.queues import Queue
from django_q.signals import post_spawn
from django_q.worker import worker
from runs.lifecycle import queue_health
from runs.lifecycle.queue_processes import RetiredProcesses, retire_workers

retired, tasks, results = RetiredProcesses(), Queue(), Queue()
timer = multiprocessing.Value("f", -1)
# As if an earlier worker with the same pid had ended after its task.
post_spawn.connect(lambda **_: retired.add(os.getpid()), weak=False)
retire_workers(retired, light=queue_health.deliver_heartbeat)
one = multiprocessing.get_context("fork").Process(target=worker, args=(tasks, results, timer, -1))
one.start()
heartbeat = "runs.lifecycle.queue_health.deliver_heartbeat"
answers = []
for func in (heartbeat, heartbeat, "os.getpid"):
    tasks.put({"func": func, "name": func, "args": (), "kwargs": {}, "sync": True})
    answers.append([results.get(timeout=60)["success"], one.pid in retired])
one.join(20)
one.kill()
one.join()
print(json.dumps([answers, one.exitcode, timer.value]))
"""


def test_a_queue_worker_ends_after_a_task_but_not_after_a_heartbeat():
    argv = [sys.executable, "-c", PROGRAM]
    answer = subprocess.run(argv, cwd=HOME, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    answers, exit_code, timer = json.loads(answer.stdout)
    # Recycled, in django-q2's words: its sentinel starts another one.
    assert (exit_code, timer) == (0, -2.0)
    assert answers == [[True, False], [True, False], [True, True]]


@pytest.fixture
def cluster():
    """A process with two children in place of a cluster."""
    script = ["sh", "-c", "sleep 600 & sleep 600 & wait"]
    with subprocess.Popen(script, start_new_session=True) as process:
        try:
            children = partial(process_table.list_descendants, process.pid)
            assert wait_until(lambda: len(children()) == 2, seconds=60)
            yield ProcessId(process.pid, process_table.read_start_time(process.pid))
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_queue_worker_that_ended_after_its_task_is_not_lost(cluster):
    processes = QueueProcesses(started=0)
    processes.update(cluster, 1.0)
    retired, killed = processes.members
    processes.retired.add(retired.pid)
    end(retired)
    assert (processes.update(cluster, 2.0), processes.lost_at) == (set(), None)
    end(killed)
    assert (processes.update(cluster, 3.0), processes.lost_at) == ({killed}, 3.0)


def end(process_id):
    os.kill(process_id.pid, signal.SIGKILL)
    assert wait_until(lambda: not process_id.is_alive(), seconds=60)


def test_of_two_pids_in_the_same_place_the_later_one_is_retired():
    retired = RetiredProcesses()
    first, second = 4_194_303, 4_194_303 - RETIRED_AT_MOST
    for pid in (first, second):
        retired.add(pid)
        assert pid in retired
    assert first not in retired
    retired.discard(first)
    assert second in retired
    retired.discard(second)
    assert second not in retired
