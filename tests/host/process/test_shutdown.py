"""A worker's shutdown is known to all of its processes, and no other process waits for it."""

import os
import threading
import time

import pytest

from host.process import shutdown


@pytest.fixture(autouse=True)
def state(monkeypatch):
    monkeypatch.setattr(shutdown, "_state", bytearray(2))


def test_a_fork_sees_what_its_parent_says_later(monkeypatch):
    monkeypatch.undo()  # the shared state, which this test puts back
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        os._exit(0 if shutdown.has_begun() else 1)
    shutdown.begin()
    os.write(write, b".")
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    shutdown._state[shutdown.ENDING] = 0
    assert exit_code == 0


def test_a_process_of_no_worker_does_not_wait(monkeypatch):
    monkeypatch.setattr(shutdown, "NOTICE_SECONDS", 300.0)
    begun = time.monotonic()
    assert not shutdown.wait_for_notice()
    assert time.monotonic() - begun < 100


def test_a_process_of_a_worker_waits_for_the_notice(monkeypatch):
    shutdown.watch()
    monkeypatch.setattr(shutdown, "NOTICE_SECONDS", 0.0)
    assert not shutdown.wait_for_notice()
    shutdown.begin()
    assert shutdown.wait_for_notice()


def test_a_notice_during_the_wait_ends_it(monkeypatch):
    shutdown.watch()
    monkeypatch.setattr(shutdown, "NOTICE_SECONDS", 60.0)
    notice = threading.Timer(0.2, shutdown.begin)
    notice.start()
    assert shutdown.wait_for_notice()
    notice.join()


def test_the_end_of_a_worker_is_no_notice_to_a_process_of_none():
    shutdown.begin()
    assert not shutdown.wait_for_notice()
