"""A backend that dies under a preview that somebody looks at, from the death to the end."""

import os
import signal

import pytest

from runs import backends, reconciler
from runs.models import Run
from slots.host import occupant
from slots.models import Lease
from slots.rules import BACKOFF_SECONDS
from tests.pipeline.world import GUESTBOOK

pytestmark = pytest.mark.full


def kill(place):
    pid = occupant.status(place.config, place.slot).status.pid
    os.kill(pid, signal.SIGKILL)
    while occupant.status(place.config, place.slot).status.active:
        pass


def restarts(place, run):
    """Look, and start again what was found dead, as worker and queue do."""
    reconciler.reconcile(place.config)
    lease = Lease.objects.get(run=run)
    backends.restart(lease.pk, lease.restarts)


def test_a_backend_that_dies_serves_again_and_one_that_keeps_dying_ends_its_run(host):
    place = host(GUESTBOOK)
    run = place.preview("feature/crash", {"README.md": "hello"})
    kill(place)
    restarts(place, run)
    assert place.page("/api/health").json()["status"] == "ok"
    kinds = set(run.events.values_list("kind", flat=True))
    assert {"backend_down", "backend_restarted"} <= kinds

    broken = place.slot.folder / "worktree" / "backend" / "guestbook" / "__main__.py"
    broken.write_text("raise SystemExit('I cannot go on')\n")
    kill(place)
    for _ in range(len(BACKOFF_SECONDS) + 1):
        Lease.objects.filter(run=run, state="held").update(restart_at=None)
        if Run.objects.get(pk=run.pk).status == "failed":
            break
        restarts(place, run)
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.failure_code) == ("failed", "BACKEND_UNHEALTHY")
    assert "I cannot go on" in run.failure_detail
    idle = place.get(place.slot.backend_port, "/health").json()
    assert idle == {"status": "idle", "slot_id": "preview-1"}
