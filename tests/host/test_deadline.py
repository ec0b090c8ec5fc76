"""Waiting with a deadline."""

import time

import pytest

from host.deadline import LONGEST_PAUSE, SHORTEST_PAUSE, Deadline, choose_pause, wait_until


def test_wait_until_returns_the_first_true_result():
    results = iter([None, 0, "ready", "later"])
    assert wait_until(lambda: next(results), seconds=5.0, interval=0.001) == "ready"


def test_wait_until_returns_the_last_false_result_once_the_time_is_over():
    begun = time.monotonic()
    assert wait_until(list, seconds=0.05, interval=0.01) == []
    assert time.monotonic() - begun >= 0.05


def test_wait_until_asks_once_without_any_time():
    calls = []
    assert wait_until(lambda: calls.append(1), seconds=0.0) is None
    assert calls == [1]


def test_wait_until_ends_at_once_where_it_is_to_stop():
    calls = []
    assert not wait_until(lambda: calls.append(1), seconds=60.0, stop=lambda: len(calls) == 2)
    assert calls == [1, 1]


def test_a_deadline_has_no_negative_seconds_left():
    deadline = Deadline(-1.0)
    assert deadline.has_passed
    assert deadline.seconds_left == 0.0
    assert 59.0 < Deadline(60.0).seconds_left <= 60.0


@pytest.mark.parametrize(
    ("elapsed", "pause"),
    [
        (0.0, SHORTEST_PAUSE),
        (0.04, SHORTEST_PAUSE),
        (0.06, 0.003),
        (1.0, 0.05),
        (2.0, LONGEST_PAUSE),
        (60.0, LONGEST_PAUSE),
    ],
)
def test_a_probe_takes_a_twentieth_of_the_time_within_bounds(elapsed, pause):
    assert choose_pause(elapsed) == pytest.approx(pause)
