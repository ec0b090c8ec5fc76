"""Twelve slots on one machine: bring-up, twelve runs at a time, the checks; then fewer slots."""

import time

import pytest

from host import config as configuration
from tests.system.host import Host, wait_for

pytestmark = pytest.mark.full
BRANCH = "feature/reactions"
COUNT = 12


@pytest.fixture
def checkout():
    host = Host("oroboros-many-slots-")
    host.environ |= {"OROBOROS_SLOTS": str(COUNT), "ADMISSION_FREE_MEMORY_MB": "0"}
    values = {**host.environ, "OROBOROS_VAR": str(host.home / "var")}
    host.config = configuration.load(values, home=host.home)
    try:
        yield host
    finally:
        host.close()


def test_twelve_slots_serve_twelve_runs_and_shrink_to_two_without_taking_one_away(checkout):
    checkout.script("quickstart", seconds=600)
    first = checkout.api("/api/runs").json()["results"][0]["id"]
    runs = [first, *(checkout.start_run(BRANCH) for _ in range(COUNT - 1))]
    deadline = time.monotonic() + 900
    for run in runs:
        remaining = max(1, deadline - time.monotonic())
        wait_for(lambda run=run: checkout.run(run)["status"] == "preview_ready", remaining, run)
    held = {checkout.run(run)["slot_id"]: run for run in runs}
    assert len(held) == COUNT
    health = checkout.script("runtime-health-check")
    assert f"web preview-{COUNT}" in health.lower() and "FAIL" not in health
    for slot in checkout.config.slots:
        router = {"Host": f"preview{slot.number}.{checkout.config.domain}"}
        answer = checkout.get(checkout.config.router_port, "/health", headers=router)
        assert answer.headers["X-Oroboros-Run"] == held[slot.slot_id]
    doctor = checkout.run_script("doctor")
    assert "OROBOROS_SLOTS" not in doctor.stdout and "Traceback" not in doctor.stderr

    checkout.script("runtime-down")
    kept, ended = held["preview-12"], held["preview-11"]
    checkout.environ["OROBOROS_SLOTS"] = "2"
    env_file = checkout.home / "var/env/api.env"
    env_file.write_text(env_file.read_text().replace("OROBOROS_SLOTS=12", "OROBOROS_SLOTS=2"))
    checkout.script("runtime-up")
    assert checkout.run(kept)["status"] == "preview_ready"
    assert checkout.api(f"/api/runs/{ended}/cancel", {"reason": "x"}).status_code == 200
    states = {slot["slot_id"]: slot["state"] for slot in checkout.api("/api/slots").json()}
    assert states["preview-12"] == "leased"
    waiting = checkout.start_run(BRANCH)
    wait_for(lambda: checkout.run(waiting)["position"] == 1, 30, "it waits")
    wait_for(
        lambda: "preview-11" not in [s.slot_id for s in list_slots(checkout)], 60, "it is cleaned"
    )
    assert {s.slot_id for s in list_slots(checkout)} >= {"preview-1", "preview-2", "preview-12"}


def list_slots(host):
    """Return the slots that a start would have now."""
    values = {**host.environ, "OROBOROS_VAR": str(host.home / "var")}
    return configuration.load(values, home=host.home).slots
