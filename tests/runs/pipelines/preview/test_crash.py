"""A backend that dies, and the worker that reports and restarts it."""

import os
import signal
import threading
from itertools import pairwise

import pytest
from django.db import connection

from runs.models import Run
from slots.rules import RESTART_DELAYS_SECONDS
from slots.runtime import backend
from tests.runs.pipelines.preview.world import WorkedHost
from tests.runs.pipelines.shipping.world import GUESTBOOK
from tests.system.host import wait_for

MAIN = "backend/guestbook/__main__.py"
NOTICED_SECONDS = 5


def kill(place, slot):
    """Kill the slot's backend; returns when, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at = cursor.fetchone()[0]
    os.kill(backend.status(place.config, slot).unit_status.pid, signal.SIGKILL)
    return at


def times(run, kind):
    return list(run.events.filter(kind=kind).order_by("id").values_list("at", flat=True))


def says(place, slot):
    try:
        return place.get(slot.backend_port, "/api/health").json()["status"]
    except (OSError, ValueError):
        return None


@pytest.mark.full
def test_a_dead_backend_is_reported_within_5_s_and_restarted_until_it_keeps_dying(host):
    place = host(GUESTBOOK, WorkedHost)
    *hanging, slot = place.config.slots
    for number in range(len(hanging)):
        place.preview(f"feature/hangs-{number}", {"README.md": "I hang"})
    run = place.preview("feature/crash", {"README.md": "I die"})
    # Other previews that do not answer delay nothing.
    for neighbour in hanging:
        os.kill(backend.status(place.config, neighbour).unit_status.pid, signal.SIGSTOP)
    with place.working():
        killed = kill(place, slot)
        wait_for(lambda: times(run, "backend_down"), 30)
        assert (times(run, "backend_down")[0] - killed).total_seconds() < NOTICED_SECONDS
        wait_for(lambda: times(run, "backend_restarted"), 30)
        assert says(place, slot) == "ok"
        assert Run.objects.get(pk=run.pk).status == "preview_ready"

        (slot.folder / "worktree" / MAIN).write_text("raise SystemExit('I cannot go on')\n")
        kill(place, slot)
        wait_for(lambda: Run.objects.get(pk=run.pk).status == "failed", 120)
        wait_for(lambda: says(place, slot) == "idle", 30)
    run.refresh_from_db()
    assert run.failure_code == "BACKEND_UNHEALTHY"
    assert run.failure_detail.endswith("I cannot go on")
    downs, starts = times(run, "backend_down"), times(run, "backend_restarted")
    # Each end is reported, the last one too, and each restart but that has its delay.
    assert len(downs) == len(starts) + 1 == len(RESTART_DELAYS_SECONDS) + 1
    pauses = [(later - start).total_seconds() for start, later in pairwise(starts)]
    wanted = RESTART_DELAYS_SECONDS[1:]
    assert all(pause > least - 0.1 for pause, least in zip(pauses, wanted, strict=True)), pauses


def test_a_backend_that_is_restarted_by_hand_is_not_reported_as_dead(host):
    place = host(GUESTBOOK)
    backend.start(place.config, place.slot)
    looked = []
    restarts = threading.Thread(target=backend.restart, args=(place.config, place.slot))
    restarts.start()
    while restarts.is_alive():
        looked.append(backend.has_exited(place.config, place.slot))
    assert len(looked) > 5 and not any(looked)
    backend.stop(place.config, place.slot)
    assert backend.has_exited(place.config, place.slot)
