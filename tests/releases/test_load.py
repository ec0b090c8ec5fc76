"""Deploys and rollbacks under 100 requests a second: none fails, none is torn."""

import json
import subprocess
import sys
import time

import pytest

from releases.deployments import operations
from releases.deployments.manual_deploy import ship_commit
from releases.models import Activation, Release

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.full)])
def test_no_answer_fails_or_is_torn_while_releases_change(rounds, config, repo, web):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "1"
    commits = {"v0": repo.commit("v0")}
    ship_commit(config, commits["v0"], actor="ann", reason="first")
    load = subprocess.Popen(
        [sys.executable, "-m", "tests.releases.load", str(config.web_port), "100"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)  # some answers of the first release
    for number in range(1, rounds + 1):
        version = f"v{number}"
        commits[version] = repo.commit(version)
        ship_commit(config, commits[version], actor="ann", reason="next")
    releases = list(Release.objects.order_by("created_at"))
    for number in range(rounds):
        operations.rollback(config, releases[number].pk, actor="ann", reason="back")
    time.sleep(0.5)
    seen = json.loads(load.communicate()[0])
    assert seen["failures"] == []
    assert {tuple(pair) for pair in seen["pairs"]} <= {(c, v) for v, c in commits.items()}
    assert len(seen["pairs"]) == rounds + 1
    assert Activation.objects.filter(outcome="succeeded").count() == 2 * rounds + 1
    assert seen["answers"] > 100 * rounds, seen
