"""The worker's chores: none waits for another, and none is lost."""

import dataclasses
import signal
import threading

import pytest
import requests
from django.db import DatabaseError

from core.clock import database_time
from host.process import runner
from runs.lifecycle.supervisor import CANARY, Chore, Worker
from runs.models import Beat
from tests.environment import free_port


@pytest.fixture
def worker(settings):
    worker = Worker(settings.OROBOROS)
    yield worker
    worker.shutdown.set()
    for chore in worker.chores:
        chore.thread.join(10)


def test_a_chore_that_hangs_keeps_no_other_from_its_work(worker):
    hangs, done = threading.Event(), threading.Event()
    worker.chores = [Chore(0.0, lambda: hangs.wait(30)), Chore(0.0, done.set)]
    worker.keep_chores()
    assert done.wait(10)
    hangs.set()


def test_an_accident_is_another_try_in_the_same_thread(worker):
    tries, again = [], threading.Event()

    def work():
        tries.append(threading.current_thread())
        if len(tries) == 1:
            raise DatabaseError("the server was restarted")
        again.set()

    worker.chores = [Chore(0.0, work)]
    worker.keep_chores()
    assert again.wait(10)
    assert tries[0] is tries[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_chore_that_a_bug_ended_is_begun_again(worker):
    tries, again = [], threading.Event()

    def work():
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("a bug")
        again.set()

    worker.chores = [Chore(0.0, work)]
    worker.keep_chores()
    worker.chores[0].thread.join(10)
    worker.keep_chores()
    assert again.wait(10)


@pytest.mark.django_db(transaction=True)
def test_nobody_is_answered_by_what_an_earlier_cluster_sang(settings, monkeypatch):
    Beat.objects.create(name=CANARY, at=database_time())
    worker = Worker(dataclasses.replace(settings.OROBOROS, worker_port=free_port()))
    worker.chores, asked = [], []

    def spawn(*argv, **options):
        with pytest.raises(requests.Timeout):
            requests.get(f"http://127.0.0.1:{worker.config.worker_port}/health", timeout=0.3)
        asked.append(Beat.objects.filter(name=CANARY).exists())
        worker.shutdown.set()

    monkeypatch.setattr(runner, "spawn", spawn)
    monkeypatch.setattr(signal, "signal", lambda *how: None)
    worker.run()
    assert asked == [False]
