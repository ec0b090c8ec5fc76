"""Who may change a run: the one rule of the API and of the admin."""

import pytest

from runs.lifecycle import operations
from tests.factories import RunFactory


@pytest.mark.parametrize("action", ["cancel", "keep"])
def test_only_its_creator_and_an_operator_change_a_run(ci, operator, action):
    run = RunFactory(created_by="ada")
    refused = ci.post(f"/api/runs/{run.pk}/{action}")
    assert (refused.status_code, refused.json()["error"]) == (403, "run_not_yours")
    run.refresh_from_db()
    assert run.status == "queued"
    assert operator.post(f"/api/runs/{run.pk}/{action}").status_code != 403


def test_a_creator_cancels_the_run(ci):
    run = RunFactory(created_by=ci.name)
    assert ci.post(f"/api/runs/{run.pk}/cancel").status_code == 200


def test_a_retry_keeps_the_priority(db, monkeypatch):
    made = []
    monkeypatch.setattr(operations, "create_run", lambda **fields: made.append(fields))
    operations.retry(RunFactory(status="canceled", priority=7, branch="a"), actor="ada")
    assert made[0]["priority"] == 7
