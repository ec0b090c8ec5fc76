"""Background processes of a preview: started with it, restarted and reported when they die."""

import os
import signal

import pytest

from runs.api.serializers import RunDetailSerializer
from runs.api.slot_serializers import SlotSerializer
from runs.leasing import queue_status
from runs.models import Run
from runs.presenters import list_processes, select_runs
from slots.rules import RESTART_DELAYS_SECONDS
from slots.runtime import backend
from tests.runs.pipelines.preview.test_crash import NOTICED_SECONDS, times
from tests.runs.pipelines.preview.world import WorkedHost
from tests.runs.pipelines.shipping.world import GUESTBOOK
from tests.system.host import wait_for

WORKER = """
import os, pathlib, time
if pathlib.Path(os.environ["HOME"], "broken").exists():
    raise SystemExit("no queue at all")
while True:
    time.sleep(60)
"""
FILES = {
    "Procfile": "web: python -m guestbook\nworker: python work.py\nclock: python work.py\n",
    "backend/work.py": WORKER,
    "oroboros.toml": (GUESTBOOK / "oroboros.toml").read_text()
    + "\n[processes.clock]\npreview = false\n",
}


def select(run):
    return select_runs().get(pk=run.pk)


def show(run):
    return [(one.name, one.state, one.restarts) for one in list_processes(select(run))]


def find_pid(place, slot, name):
    found = backend.list_processes(place.config, slot)
    return next(one.unit_status.pid for one in found if one.name == name)


def test_a_preview_starts_the_processes_of_its_procfile_and_its_run_shows_each(host):
    place = host(GUESTBOOK)
    run = place.preview("feature/worker", FILES)
    assert show(run) == [("web", "running", 0), ("worker", "running", 0)]
    assert run.list_notes() == []
    slot = SlotSerializer(queue_status.list_slots(), many=True).data[0]
    assert [one["type"] for one in slot["processes"]] == ["web", "worker"]
    assert [one["type"] for one in RunDetailSerializer().get_processes(select(run))] == [
        "web",
        "worker",
    ]
    backend.stop(place.config, place.slot)
    assert show(run) == [("web", "stopped", 0), ("worker", "stopped", 0)]


def test_a_process_that_ends_at_its_start_fails_the_run_with_its_name(host, monkeypatch):
    monkeypatch.setattr(backend.processes, "SETTLE_SECONDS", 30.0)
    broken = {"backend/work.py": "raise SystemExit('no queue at all')\n"}
    run = host(GUESTBOOK).carry("feature/broken", FILES | broken)
    assert run.failure_code == "PROCESS_DIED"
    assert "The process worker of preview-1 ended" in run.failure_detail
    assert "no queue at all" in run.failure_detail


@pytest.mark.full
def test_a_dead_process_is_reported_within_5_s_and_restarted_until_it_keeps_dying(host):
    place = host(GUESTBOOK, WorkedHost)
    slot = place.config.slots[0]
    run = place.preview("feature/worker", FILES)
    web = find_pid(place, slot, "web")
    with place.working():
        os.kill(find_pid(place, slot, "worker"), signal.SIGKILL)
        wait_for(lambda: times(run, "backend_down"), NOTICED_SECONDS)
        wait_for(lambda: times(run, "backend_restarted"), 30)
        assert show(run) == [("web", "running", 0), ("worker", "running", 1)]
        text = run.events.get(kind="backend_down").text
        assert text.startswith("the process worker of preview-1 is not running: it ended")

        (slot.folder / "home" / "broken").touch()
        os.kill(find_pid(place, slot, "worker"), signal.SIGKILL)
        wait_for(lambda: Run.objects.get(pk=run.pk).status == "failed", 120)
    run.refresh_from_db()
    assert run.failure_code == "PROCESS_DIED"
    assert run.failure_detail.startswith("The process worker was restarted 5 times")
    assert run.failure_detail.endswith("no queue at all")
    assert len(times(run, "backend_restarted")) == len(RESTART_DELAYS_SECONDS)
    assert web not in (None, find_pid(place, slot, "web"))
