"""Production's background processes and second servers: each end is told, and each restart."""

import os
import signal
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest

from host.deadline import wait_until
from host.units import managers
from releases.processes import keeping
from releases.production import colours
from runs.lifecycle import reconciler
from runs.models import Event
from tests.releases.conftest import base_folder, config, repo, web
from tests.releases.deployments.test_servers import assert_serves, commit
from tests.releases.production_state import deploy

__all__ = ["base_folder", "config", "repo", "web"]

pytestmark = pytest.mark.django_db(transaction=True)


def kill(config, unit):
    manager = managers.get_manager(config)
    os.kill(manager.status(unit).pid, signal.SIGKILL)
    assert wait_until(lambda: manager.find_ended([unit]), seconds=60, interval=0.01)


def find_events(kind, unit):
    texts = Event.objects.filter(kind=kind, run=None).order_by("pk").values_list("text", flat=True)
    return [text for text in texts if text.startswith(unit)]


def test_every_end_is_told_and_so_is_every_restart(config, repo, web):
    sha = commit(repo, "one")
    deploy(config, sha)
    worker = "ouroboros-app-process@worker"
    live = colours.unit_name(colours.get_live_colour(config))
    for number in (1, 2):
        # The restart of the worker waits for its delay the second time.
        for unit in (worker, f"{live}.1") if number == 1 else (f"{live}.1",):
            kill(config, unit)
        # The second time while another process stops an idle colour, which may last long.
        with colours.lock_colours(config) if number == 2 else nullcontext():
            reconciler.repair_production(config)
        assert_serves(config, web, "one", sha)
        assert len(find_events("process_ended", f"{live}.1 ended")) == number
        assert len(find_events("repaired", f"{live} was started")) == number
    kill(config, worker)
    # As after many restarts: on a busy host the first delay is over before the next look.
    known = keeping.read_restarts(config)[worker]
    keeping._write_restarts(config, {worker: replace(known, count=10, last=time.time())})
    for _ in range(2):
        reconciler.repair_production(config)
    assert len(find_events("process_ended", f"{worker} ended")) == 2
    restarted = find_events("repaired", f"{worker} ended")
    assert len(restarted) == 1 and restarted[0].endswith("(restart 1).")
