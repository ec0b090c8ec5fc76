"""Background processes as installed units: their user, their limits, kills, stops, generations."""

import pytest

from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

NOTICED_SECONDS = 5
RESTARTED_SECONDS = 30
WORKER = """
import os, signal, sys, time
log = open(os.path.join(os.environ["HOME"], "history"), "a", buffering=1)
def end(*_):
    time.sleep(2)
    log.write(f"{os.environ['OROBOROS_COMMIT']} ends\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
log.write(f"{os.environ['OROBOROS_COMMIT']} begins\\n")
while True:
    time.sleep(60)
"""
FILES = {
    "Procfile": "web: python -m guestbook\nrelease: python -m guestbook.migrate\n"
    "worker: python work.py\n",
    "backend/work.py": WORKER,
}


def wait_for_restart(host, unit, pid):
    restarted = lambda: host.pid(unit) not in (0, pid)  # noqa: E731
    wait_for(restarted, RESTARTED_SECONDS, f"{unit} is not restarted")


def test_a_previews_process_runs_as_the_slots_user_within_its_limits_and_is_restarted(host):
    host.make_branch("feature/worker", FILES)
    created = host.post("/api/runs", branch="feature/worker", title="worker")
    run = host.wait_for_status(created, "preview_ready", 300)
    number = run["slot_id"][-1]
    unit = f"ouroboros-process-preview-{number}@worker"
    pid = host.pid(unit)
    assert host.run(f"ps -o user:32= -p {pid}").strip() == f"ouroboros-preview-{number}"
    slice_name = f"ouroboros-previews-preview-{number}.slice"
    for one in (unit, f"ouroboros-preview@preview-{number}"):
        assert host.run(f"systemctl show -p Slice --value {one}").strip() == slice_name
    limits = host.run(f"systemctl show -p MemoryMax,TasksMax {slice_name}")
    assert f"MemoryMax={2**30}" in limits and "TasksMax=256" in limits
    host.run(f"kill -9 {pid}")

    def is_reported():
        events = host.get(f"/api/runs/{run['id']}/events")["results"]
        return any(event["kind"] == "backend_down" for event in events)

    wait_for(is_reported, NOTICED_SECONDS, "the death of the worker is not reported")
    wait_for_restart(host, unit, pid)
    shown = host.get(f"/api/runs/{run['id']}")["processes"]
    assert [(one["type"], one["restarts"]) for one in shown] == [("web", 0), ("worker", 1)]
    host.post(f"/api/runs/{run['id']}/cancel")
    wait_for(lambda: host.pid(unit) == 0, 30, "the worker outlives its run")


def test_production_runs_one_generation_of_a_process_and_restarts_it(host):
    before = host.get("/api/releases")["results"][0]
    unit = "ouroboros-app-process@worker"
    host.make_branch("feature/first", FILES)
    host.make_branch("feature/second", {**FILES, "backend/more.py": "\n"})
    first = host.run_json("./scripts/deploy.sh feature/first --reason first")["release_id"]
    pid = host.pid(unit)
    assert host.run(f"ps -o user:32= -p {pid}").strip() == "ouroboros-app"
    host.run_json("./scripts/deploy.sh feature/second --reason second")
    second = host.pid(unit)
    assert second not in (0, pid)
    host.run(f"kill -9 {second}")
    wait_for_restart(host, unit, second)
    host.run_json(f"./scripts/rollback.sh {first}")
    lines = host.run("cat var/app/history").split("\n")[:-1]
    one, two = (line.split()[0] for line in (lines[0], lines[2]))
    # The killed process said nothing when it ended.
    assert lines == [
        f"{one} begins", f"{one} ends", f"{two} begins", f"{two} begins", f"{two} ends",
        f"{one} begins",
    ]  # fmt: skip
    host.run_json(f"./scripts/rollback.sh {before['release_id']}")
    assert host.pid(unit) == 0
    host.run(".venv/bin/python manage.py unfreeze --reason 'other tests ship'")
