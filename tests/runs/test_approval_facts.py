"""The facts before an approval, in a few words."""

import pytest

from host.postgres.schema_diff import Change
from runs.admin import run_page
from runs.approval_facts import ApprovalFacts, read_approval_facts, summarize_changes
from runs.pipelines.merge_forecast import MergeOutcome
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
