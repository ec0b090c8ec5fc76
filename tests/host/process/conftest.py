"""Fixtures for tests of real processes."""

import pytest

from host.process import runner
from tests.host.processes import ENV, ROOT


@pytest.fixture
def log(tmp_path):
    return tmp_path / "a.log"


@pytest.fixture
def spawn(log):
    """Return a function that spawns a daemon, which is stopped after the test."""
    process_ids = []

    def spawn(script, **options):
        options = {"cwd": ROOT, "env": ENV, "user": None, "log": log, **options}
        process_ids.append(runner.spawn(["sh", "-c", script], **options))
        return process_ids[-1]

    yield spawn
    for process_id in process_ids:
        runner.stop(process_id, grace=0)
