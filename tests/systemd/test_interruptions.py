"""Work that a reboot or a stop of all units interrupts ends as it would have without.

`TEST_INTERRUPTIONS=3` has three of each in place of ten.
"""

import os
import random
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from host.deadline import wait_until
from tests.systemd.machine import DEMO, wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

SEED = 19
ROUNDS = int(os.environ.get("TEST_INTERRUPTIONS", "10"))
# Long, because the host may have other work: only what ends otherwise fails.
MERGE_SECONDS = 900.0
PRODUCTION = "curl -fsS -m 2 http://127.0.0.1:3100/api/health"
FINAL = ("merged", "failed", "canceled", "expired", "rejected")
# A push to a path would be over before it could be interrupted. See githooks(5), "update".
HOOK = f"{DEMO}/guestbook.git/hooks/update"
SLOW_PUSH = "#!/bin/sh\n[ $1 != refs/heads/main ] || sleep 3\n"
REMOTE_MAIN = f"runuser -u oroboros -- git -C {DEMO}/guestbook.git rev-parse main"


def stop_all(host):
    """Stop all units as an administrator would, and start them again.

    Returns the seconds until all had stopped, and until production answered.
    """
    started = time.monotonic()
    host.run("systemctl stop 'ouroboros-*'", cwd="/")
    stopped = time.monotonic() - started
    host.run("./scripts/runtime-up.sh")
    return stopped, time.monotonic() - started


def reboot(host):
    """Reboot, and wait until all is healthy; returns as `stop_all`."""
    started = time.monotonic()
    stopped = host.reboot()
    has_answered = lambda: host.run_unchecked(PRODUCTION).returncode == 0  # noqa: E731
    wait_for(has_answered, 120, "production does not answer after the reboot")
    answered = time.monotonic() - started
    is_up = lambda: host.run_unchecked("./scripts/runtime-health-check.sh").returncode == 0  # noqa: E731
    wait_for(is_up, 120, "not everything is healthy after the reboot")
    return stopped, answered


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
    """How long a run takes here from its creation to `merged`, without an interruption.

    The first run builds more than later ones: it is not counted.
    """
    host.run(f"mkdir -p {DEMO}/guestbook.git/hooks && cat >{HOOK}", stdin=SLOW_PUSH.encode())
    host.run(f"chmod 755 {HOOK}")
    for _ in range(2):
        run, started = begin(host, "undisturbed"), time.monotonic()
        assert try_to_merge(host, run, MERGE_SECONDS)["status"] == "merged"
        taken = time.monotonic() - started
    yield taken
    host.run(f"rm {HOOK}")


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


def describe_times(times):
    stopped, answered = times
    return f"stopped after {stopped:.1f} s, production answered after {answered:.1f} s"


def describe_next_step(run, since):
    """Say when a step began after `since`: then the run went on."""
    begun = [datetime.fromisoformat(one["started_at"]) for one in run["steps"] if one["started_at"]]
    later = [(one - since).total_seconds() for one in begun if one > since]
    return f"the next step began after {min(later):.1f} s" if later else "no step was left"


def say(text):
    """Print a line at once; `pytest -s` shows it."""
    print(text, flush=True)  # noqa: T201


UNDISTURBED = {"status": "merged", "remote": True, "live": True, "failed": 0, "frozen": False}


@pytest.mark.parametrize("interrupt", [stop_all, reboot])
def test_a_run_that_is_interrupted_at_any_moment_ends_as_one_that_is_not(host, seconds, interrupt):
    generator = random.Random(SEED)
    differences, moments = [], Counter()
    # An interruption of the test before may have failed half-way.
    host.run("./scripts/runtime-up.sh")
    say(f"{interrupt.__name__} at rest: {describe_times(interrupt(host))}")
    for number in range(ROUNDS):
        run = begin(host, f"{interrupt.__name__}-{number}")
        # Each part of a run gets its share of the interruptions.
        moment = seconds * (number + generator.random()) / ROUNDS
        before = try_to_merge(host, run, moment)
        running = [step["name"] for step in before["steps"] if step["status"] == "running"]
        moments[before["status"], *running] += 1
        since, times = datetime.now(UTC), describe_times(interrupt(host))
        now = try_to_merge(host, run, MERGE_SECONDS)
        end = describe_end(host, now)
        say(
            f"{interrupt.__name__} {number}: at {moment:.1f} s, {running}: {times}, "
            f"{describe_next_step(now, since)}; {end}"
        )
        if end != UNDISTURBED:
            differences.append((round(moment, 1), running, now["failure_detail"], end))
    say(f"a run takes {seconds:.0f} s; interrupted in {dict(moments)}")
    assert differences == []
