"""Deploys and rollbacks under 100 requests a second: no response fails or mixes two releases."""

import json
import subprocess
import sys

import pytest

from host.deadline import wait_until
from releases.deployments import deploy_and_rollback
from releases.deployments.deploy_commit import deploy_commit
from releases.models import Deployment, Release

FIRST = "0000000a"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.full)])
def test_no_response_fails_or_mixes_releases_during_deployments(rounds, config, repo, web):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "1"
    repo.build_frontend()
    commits = {FIRST: repo.commit(FIRST)}
    deploy_commit(config, commits[FIRST], actor="ann", reason="first")
    load = subprocess.Popen(
        [sys.executable, "-m", "tests.releases.load_clients", str(config.web_port), "100"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for_responses(load, 100)  # of the first release
    for number in range(1, rounds + 1):
        version = f"{number:07}a"
        commits[version] = repo.commit(version)
        deploy_commit(config, commits[version], actor="ann", reason="next")
    releases = list(Release.objects.order_by("created_at"))
    for number in reversed(range(rounds)):
        deploy_and_rollback.roll_back(config, releases[number].pk, actor="ann", reason="back")
    wait_for_responses(load, 50)  # of the last release
    seen = json.loads(load.communicate()[0])
    assert seen["failures"] == []
    assert {tuple(pair) for pair in seen["pairs"]} <= {(c, v) for v, c in commits.items()}
    assert len(seen["pairs"]) == rounds + 1
    # A deploy leaves the older release's assets, a rollback takes the newer one's back.
    order = list(commits.values())
    assert all(order.index(commit) < list(commits).index(v) for commit, v in seen["missing"])
    assert Deployment.objects.filter(outcome="succeeded").count() == 2 * rounds + 1
    assert seen["answers"] > 100 * rounds, seen


def wait_for_responses(load, number):
    """Wait until the clients have received `number` more responses."""
    first = count_responses(load)
    assert wait_until(lambda: count_responses(load) >= first + number, seconds=120)


def count_responses(load):
    load.stdin.write("\n")
    load.stdin.flush()
    return int(load.stdout.readline())
