"""Few calls compute at once, and those that wait keep no other from a thread."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.deadline import wait_until
from web.server import paced_pool
from web.server.paced_pool import (
    COMPUTING_AT_ONCE,
    DEFERRED_SECONDS,
    WAITING_SECONDS,
    PacedPool,
    count_startable,
    is_deferred_next,
)

NEW, OLD = 0.0, WAITING_SECONDS


@pytest.mark.parametrize(
    ("ages", "queued", "startable"),
    [
        ([], 9, COMPUTING_AT_ONCE),
        ([], 1, 1),
        ([NEW], 9, COMPUTING_AT_ONCE - 1),
        ([NEW] * COMPUTING_AT_ONCE, 9, 0),
        ([OLD, OLD], 9, COMPUTING_AT_ONCE),
        ([OLD, OLD, NEW], 9, 0),
        ([OLD] * 4, 9, 0),
    ],
)
def test_few_requests_compute_and_those_that_wait_do_not_count(ages, queued, startable):
    assert count_startable(ages, queued, threads=4) == startable


@given(st.lists(st.floats(0, 100), max_size=4), st.integers(0, 500))
def test_never_more_run_than_there_are_threads_or_compute_than_may(ages, queued):
    startable = count_startable(ages, queued, threads=4)
    assert 0 <= startable <= queued
    assert len(ages) + startable <= 4
    computing = sum(age < WAITING_SECONDS for age in ages)
    assert startable == 0 or computing + startable <= COMPUTING_AT_ONCE
    # Nothing waits while nothing runs.
    assert startable or ages or not queued


@contextmanager
def pool(threads=4):
    """A pool, and a function that submits a call, which runs until its event is set."""
    events, answers = [], []
    with ThreadPoolExecutor(threads) as executor:
        paced = PacedPool(executor, threads)

        def submit(size=1, **options):
            number, event = len(events), threading.Event()
            events.append(event)
            paced.submit(lambda: event.wait(600) and number, answers.append, size, **options)
            return event

        yield paced, submit, answers
        for event in events:
            event.set()
        assert wait_until(lambda: _drain(paced), seconds=60, interval=0.01)


def _drain(paced):
    paced.start_due()
    return not paced.has_queue


def test_the_next_call_starts_as_one_ends_in_their_order(monkeypatch):
    monkeypatch.setattr(paced_pool, "WAITING_SECONDS", 1000.0)
    monkeypatch.setattr(paced_pool, "COMPUTING_AT_ONCE", 2)
    with pool() as (paced, submit, answers):
        events = [submit() for _ in range(4)]
        assert paced.is_busy and paced.has_queue
        events[2].set()
        paced.start_due()
        assert answers == []  # the third has no thread yet
        events[0].set()
        assert wait_until(lambda: answers, seconds=60)
        paced.start_due()
        assert wait_until(lambda: len(answers) == 2, seconds=60)
        assert [one.result() for one in answers] == [0, 2]


def test_calls_that_wait_for_something_else_do_not_keep_the_next_from_a_thread(monkeypatch):
    monkeypatch.setattr(paced_pool, "WAITING_SECONDS", 0.0)
    with pool() as (paced, submit, answers):
        for _ in range(3):
            submit()
        assert not paced.is_busy
        submit().set()
        assert wait_until(lambda: answers, seconds=60)


@pytest.mark.parametrize(
    ("queued", "deferred_age", "expected"),
    [
        (0, None, False),
        (3, None, False),
        (0, 0.0, True),
        (1, 0.0, False),
        (1, DEFERRED_SECONDS - 0.001, False),
        (1, DEFERRED_SECONDS, True),
    ],
)
def test_a_deferred_call_is_next_after_the_others_but_not_for_ever(queued, deferred_age, expected):
    assert is_deferred_next(queued, deferred_age) is expected


@pytest.mark.parametrize(("seconds", "order"), [(1000.0, [0, 3, 4, 1, 2]), (0.0, [0, 1, 2, 3, 4])])
def test_deferred_calls_start_after_the_others(monkeypatch, seconds, order):
    monkeypatch.setattr(paced_pool, "WAITING_SECONDS", 1000.0)
    monkeypatch.setattr(paced_pool, "DEFERRED_SECONDS", seconds)
    with pool() as (paced, submit, answers):
        events = [
            submit(),
            *(submit(is_deferred=is_early) for is_early in (True, True, False, False)),
        ]
        assert paced.is_busy and paced.has_queue
        for event in events:
            event.set()
        assert wait_until(lambda: _drain(paced) and len(answers) == 5, seconds=60, interval=0.01)
        assert [one.result() for one in answers] == order


def test_a_pool_is_full_by_the_number_and_by_the_size_of_what_is_queued(monkeypatch):
    monkeypatch.setattr(paced_pool, "QUEUED_CALLS", 2)
    monkeypatch.setattr(paced_pool, "QUEUED_BYTES", 100)
    with pool(threads=1) as (paced, submit, _):
        submit(size=1000)  # it has a thread
        assert not paced.is_full
        submit(size=101)
        assert paced.is_full
    with pool(threads=1) as (paced, submit, _):
        for _ in range(3):
            assert not paced.is_full
            submit()
        assert paced.is_full
