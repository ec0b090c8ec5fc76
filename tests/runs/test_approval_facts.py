"""The facts before an approval, in a few words."""

import pytest

from host.postgres.schema_diff import Change
from runs.admin import run_page
from runs.approval_facts import (
    ApprovalFacts,
    ShortFact,
    read_approval_facts,
    summarize_changes,
    summarize_precheck,
)
from runs.models import Precheck
from runs.pipelines.merge_forecast import MergeOutcome
from runs.prechecks.facts import PrecheckFacts
from runs.rules import Status
from tests.factories import LeaseFactory, RunFactory
from tests.host.postgres.schema_snapshots import snapshot_text
from tests.runs.admin.artifacts import write_artifact

ADDED, DROPPED = Change("adds", "adds column a.b (text)"), Change("drops", "drops table a")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([], "no change"),
        ([ADDED], "+1 column"),
        ([ADDED, ADDED, DROPPED], "+2 columns, −1 table"),
        ([Change("changes", "changes a.b: text")], "1 change"),
        ([ADDED, Change("narrows", "makes a.b required")], "+1 column, 1 other change"),
        ([Change("adds", "adds index a"), Change("adds", "adds index b")], "2 changes"),
    ],
)
def test_schema_changes_are_summed_up(changes, text):
    assert summarize_changes(changes) == text


@pytest.mark.parametrize("outcome", [None, *MergeOutcome])
def test_every_outcome_of_a_merge_has_words(outcome):
    facts = ApprovalFacts(outcome, conflicts=("a.py", "b.py"))
    assert facts.merge
    assert facts.can_merge == (outcome == MergeOutcome.MERGES)
    if outcome == MergeOutcome.CONFLICTS:
        assert "a.py" in facts.merge and "b.py" in facts.merge


def precheck(status, *, is_stale=False, code="", checks=()):
    row = Precheck(status=status, code=code, progress={"checks": list(checks)})
    return PrecheckFacts(row, is_stale)


@pytest.mark.parametrize(
    ("found", "text", "state"),
    [
        (None, "after approval", ""),
        (precheck("waiting"), "waiting", "running"),
        (precheck("running"), "running", "running"),
        (precheck("passed", checks=["a", "b"]), "2 passed", "succeeded"),
        (precheck("passed", checks=["a"], is_stale=True), "1 passed, stale", "warning"),
        (precheck("failed", code="CHECKS_FAILED"), "CHECKS_FAILED", "failed"),
        (
            precheck("failed", code="CHECKS_FAILED", is_stale=True),
            "CHECKS_FAILED, stale",
            "warning",
        ),
        (precheck("canceled"), "canceled", "canceled"),
    ],
)
def test_a_check_before_the_approval_has_a_short_form(found, text, state):
    assert summarize_precheck(found) == ShortFact("Checks", text, state)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (
            ApprovalFacts(),
            [("Merge", "not known yet", ""), ("Migration", "not run yet", "")],
        ),
        (
            ApprovalFacts(MergeOutcome.MERGES, migration="+1 column"),
            [("Merge", "clean", "succeeded"), ("Migration", "+1 column", "")],
        ),
        (
            ApprovalFacts(
                MergeOutcome.CONFLICTS,
                conflicts=("a.py",),
                migration="−1 table",
                is_irreversible=True,
            ),
            [
                ("Merge", "conflicts in a.py", "failed"),
                ("Migration", "−1 table, irreversible", "failed"),
            ],
        ),
    ],
)
def test_the_facts_fit_in_one_line(facts, shown):
    found = [(fact.name, fact.text, fact.state) for fact in facts.summarize()]
    assert found == [shown[0], ("Checks", "after approval", ""), shown[1]]


@pytest.mark.django_db
def test_the_facts_are_read_from_the_run_and_its_schemas(client):
    run = RunFactory(status=Status.PREVIEW_READY, commit_sha="c" * 40)
    run.merge_forecast = {"commit": "c" * 40, "base": "b" * 40, "outcome": "merges"}
    assert read_approval_facts(run) == ApprovalFacts(MergeOutcome.MERGES, "b" * 40)
    write_artifact(run, "schema_before", snapshot_text({"public.a": {"id": "bigint"}}))
    write_artifact(run, "schema_after", snapshot_text({"public.a": {"it": "text"}}))
    facts = read_approval_facts(run)
    assert (facts.migration, facts.is_irreversible) == ("+1 column, −1 column", True)


@pytest.mark.django_db
def test_a_run_that_ships_or_has_ended_has_no_facts_before_approval():
    ready = LeaseFactory(held=True, run__status=Status.PREVIEW_READY).run
    assert run_page.describe_facts(ready) is not None
    for status in (Status.APPROVED, Status.MERGED, Status.FAILED):
        assert run_page.describe_facts(RunFactory(status=status)) is None
