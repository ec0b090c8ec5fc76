"""Work that a reboot or a stop of all units interrupts ends as it would have without."""

import random
import time

import pytest

from host.deadline import wait_until
from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

SEED = 19
ROUNDS = 5
# A run takes about this long from its creation to `merged`, here.
RUN_SECONDS = 14.0
FINAL = ("merged", "failed", "canceled", "expired", "rejected")


def stop_all(host):
    """Stop all units as an administrator would, and start them again."""
    host.run("systemctl stop 'ouroboros-*'", cwd="/")
    host.run("./scripts/runtime-up.sh")


def reboot(host):
    host.reboot()
    is_up = lambda: host.run_unchecked("./scripts/runtime-health-check.sh").returncode == 0  # noqa: E731
    wait_for(is_up, 120, "not everything is healthy after the reboot")


def go_on(host, run):
    """Approve the run once it is ready; return it."""
    now = host.get(f"/api/runs/{run['id']}")
    if now["status"] == "preview_ready":
        host.post(f"/api/runs/{run['id']}/approve", commit_sha=now["commit_sha"])
    return now


def try_to_merge(host, run, seconds):
    """Bring the run forward for `seconds`, or until it has ended; return it."""

    def has_ended():
        return go_on(host, run)["status"] in FINAL

    wait_until(has_ended, seconds=seconds, interval=0.3)
    return host.get(f"/api/runs/{run['id']}")


@pytest.mark.parametrize("interrupt", [stop_all, reboot])
def test_a_run_that_is_interrupted_at_any_moment_is_merged(host, interrupt):
    generator = random.Random(SEED)
    ended = []
    for number in range(ROUNDS):
        branch = f"feature/{interrupt.__name__}-{number}-{int(time.time())}"
        host.make_branch(branch, {"backend/note.txt": branch})
        run = host.post("/api/runs", branch=branch, title=branch)
        moment = generator.uniform(0.0, RUN_SECONDS)
        before = try_to_merge(host, run, moment)
        interrupt(host)
        now = try_to_merge(host, run, 180.0)
        steps = [step["name"] for step in before["steps"] if step["status"] == "running"]
        ended.append((branch, round(moment, 1), steps, now["status"], now["failure_detail"]))
    assert [one for one in ended if one[3] != "merged"] == []
