"""Work that a reboot or a stop of all units interrupts ends as it would have without.

`TEST_INTERRUPTIONS=3` has three of each in place of ten.
"""

import os
import random
import time
from collections import Counter

import pytest

from host.deadline import wait_until
from tests.systemd.machine import DEMO, wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

SEED = 19
ROUNDS = int(os.environ.get("TEST_INTERRUPTIONS", "10"))
# Long, because the host may have other work: only what ends otherwise fails.
MERGE_SECONDS = 900.0
FINAL = ("merged", "failed", "canceled", "expired", "rejected")
REMOTE_MAIN = f"runuser -u oroboros -- git -C {DEMO}/guestbook.git rev-parse main"


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

    wait_until(has_ended, seconds=seconds, interval=0.2)
    return host.get(f"/api/runs/{run['id']}")


def begin(host, name):
    branch = f"feature/{name}-{int(time.time())}"
    host.make_branch(branch, {"backend/note.txt": branch})
    return host.post("/api/runs", branch=branch, title=branch)


@pytest.fixture(scope="module")
def seconds(host):
    """How long a run takes here from its creation to `merged`, without an interruption."""
    run, started = begin(host, "undisturbed"), time.monotonic()
    assert try_to_merge(host, run, MERGE_SECONDS)["status"] == "merged"
    return time.monotonic() - started


def describe_end(host, run):
    """Return what an undisturbed run has at its end: where its commit is, and what was recorded."""
    kinds = [one["kind"] for one in host.get(f"/api/runs/{run['id']}/events")["results"]]
    live = [one for one in host.get("/api/releases")["results"] if one["status"] == "live"]
    return {
        "status": run["status"],
        "remote": host.run(REMOTE_MAIN).strip() == run["candidate_sha"],
        "live": [one["commit_sha"] for one in live] == [run["candidate_sha"]],
        "failed": kinds.count("failed"),
        "frozen": "frozen" in kinds,
    }


UNDISTURBED = {"status": "merged", "remote": True, "live": True, "failed": 0, "frozen": False}


@pytest.mark.parametrize("interrupt", [stop_all, reboot])
def test_a_run_that_is_interrupted_at_any_moment_ends_as_one_that_is_not(host, seconds, interrupt):
    generator = random.Random(SEED)
    differences, moments = [], Counter()
    # An interruption of the test before may have failed half-way.
    host.run("./scripts/runtime-up.sh")
    for number in range(ROUNDS):
        run = begin(host, f"{interrupt.__name__}-{number}")
        # Each part of a run gets its share of the interruptions.
        moment = seconds * (number + generator.random()) / ROUNDS
        before = try_to_merge(host, run, moment)
        running = [step["name"] for step in before["steps"] if step["status"] == "running"]
        moments[before["status"], *running] += 1
        interrupt(host)
        now = try_to_merge(host, run, MERGE_SECONDS)
        end = describe_end(host, now)
        print(f"{interrupt.__name__} {number}: at {moment:.1f} s, {running}: {end}", flush=True)  # noqa: T201
        if end != UNDISTURBED:
            differences.append((round(moment, 1), running, now["failure_detail"], end))
    print(f"a run takes {seconds:.0f} s; interrupted in {dict(moments)}")  # noqa: T201
    assert differences == []
