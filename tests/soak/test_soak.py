"""The soak, for three minutes with a seed of the day; `python -m tests.soak` runs it longer."""

import os
from pathlib import Path

import pytest

from tests.soak.soak import run_soak

SECONDS = 180


@pytest.mark.full
@pytest.mark.root
def test_soak_of_three_minutes_breaks_no_invariant(tmp_path):
    seed = int(os.environ.get("SOAK_SEED", "16"))
    report = run_soak(seed, SECONDS, Path(os.environ.get("SOAK_REPORT", tmp_path / "soak.json")))
    assert report.faults == [], report.as_text()
