"""A host that takes pictures, and a ready run that holds a slot. No browser is started."""

from dataclasses import replace

import pytest

from runs.leasing import grants
from runs.rules import Status
from slots.rules import Capacity
from tests.factories import LeaseFactory, RunFactory


@pytest.fixture
def config(settings, tmp_path, monkeypatch, slots):
    """The configuration of a host with a user for Chromium, and with a program of that name."""
    program = tmp_path / "bin" / "chromium"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(grants, "read_free_capacity", lambda: Capacity(10**6, 10**6))
    # No process has these uids.
    found = replace(settings.OROBOROS, var=tmp_path / "var", is_root=True, uid_base=1_900_000_000)
    settings.OROBOROS = found
    return found


@pytest.fixture
def ready(config, slots):
    run = RunFactory(status=Status.PREVIEW_READY)
    LeaseFactory(run=run, held=True, slot=slots[0])
    return run
