"""The soak, for three minutes with a seed of the day; `python -m tests.soak` runs it longer."""

import os
from pathlib import Path

import pytest

from tests.soak.invariants import find_growth
from tests.soak.soak import run_soak

SECONDS = 180


@pytest.mark.full
@pytest.mark.root
def test_soak_of_three_minutes_breaks_no_invariant(tmp_path):
    seed = int(os.environ.get("SOAK_SEED", "16"))
    report = run_soak(seed, SECONDS, Path(os.environ.get("SOAK_REPORT", tmp_path / "soak.json")))
    assert report.faults == [], report.as_text()


@pytest.mark.parametrize(
    ("key", "value", "is_leak"),
    [("MB", 200, False), ("MB", 211, True), ("fds", 80, False), ("fds", 81, True),
     ("threads", 25, False), ("threads", 26, True)],
)  # fmt: skip
def test_a_process_that_has_grown_is_a_fault_of_the_soak(key, value, is_leak):
    before = {"ouroboros-api": {"MB": 90, "fds": 40, "threads": 10}}
    after = {"ouroboros-api": {**before["ouroboros-api"], key: value}}
    assert bool(find_growth(before, after)) is is_leak
