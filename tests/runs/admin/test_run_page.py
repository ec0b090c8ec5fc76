"""The data of a run's page."""

import pytest
from django.utils import timezone

from releases.models import Release
from releases.rules import ReleaseStatus
from runs import presenters
from runs.admin import run_page
from runs.models import Step
from runs.pipelines import preview, shipping
from runs.rules import Status, StepStatus
from tests.factories import (
    DeploymentFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    StepFactory,
)
from tests.host.postgres.schema_snapshots import snapshot_text
from tests.runs.admin.artifacts import write_artifact

pytestmark = pytest.mark.django_db


def build_context(run):
    return run_page.build_context(presenters.select_runs().get(pk=run.pk), is_live=True)


def test_the_timeline_contains_steps_that_have_not_started():
    run = RunFactory(status=Status.PREPARING)
    StepFactory(run=run, name="lease")
    StepFactory(run=run, name="worktree", status=StepStatus.RUNNING)
    groups = dict(build_context(run)["timeline"])
    names = [stage.name for stage in (*groups["Preview"], *groups["Shipping"])]
    assert names == [action.name for action in (*preview.STEPS, *shipping.STEPS)]
    assert [stage.status for stage in groups["Preview"][:3]] == [
        "succeeded",
        "running",
        "not started",
    ]


def test_an_ended_runs_other_steps_are_not_reached_and_a_reservation_has_none():
    ended = build_context(RunFactory(status=Status.CANCELED))["timeline"]
    assert {stage.status for _, stages in ended for stage in stages} == {"not reached"}
    assert build_context(RunFactory(prepare=False))["timeline"] == []


def test_only_the_logs_of_running_and_failed_stages_are_open():
    run = RunFactory(status=Status.FAILED)
    for name, status in (("lease", "succeeded"), ("install", "running"), ("build", "failed")):
        StepFactory(run=run, name=name, status=status)
    stages = [stage for _, group in build_context(run)["timeline"] for stage in group]
    assert [stage.name for stage in stages if stage.is_open] == ["install", "build"]


def test_a_failure_does_not_repeat_the_log_in_its_detail():
    detail = "tests ended with exit code 1:\n$ tests\nFAILED"
    run = RunFactory(status=Status.FAILED, failure_code="CHECKS_FAILED", failure_detail=detail)
    step = StepFactory(run=run, name="checks", status=StepStatus.FAILED)
    write_artifact(run, "checks_log", "more\n$ tests\nFAILED\n", step=step)
    failure = build_context(run)["failure"]
    assert failure["detail"] == "tests ended with exit code 1"
    assert failure["lines"] == "more\n$ tests\nFAILED"
    assert failure["cause"]
    assert failure["remedy"]


def test_a_failure_keeps_a_detail_that_is_not_in_the_log():
    run = RunFactory(
        status=Status.FAILED, failure_code="MERGE_CONFLICT", failure_detail="in:\napp.py"
    )
    assert build_context(run)["failure"]["detail"] == "in:\napp.py"
    assert build_context(run)["failure"]["lines"] == ""


def test_the_environment_has_the_source_of_each_value():
    run = RunFactory()
    lines = "PORT=8101  # the slot\nURL=a=b  # c  # mapping\n\nNot passed on: LD_PRELOAD\n"
    write_artifact(run, "environment", lines)
    found = build_context(run)["backend_environment"]
    assert found["values"] == [
        {"name": "PORT", "value": "8101", "source": "the slot"},
        {"name": "URL", "value": "a=b  # c", "source": "mapping"},
    ]
    assert found["notes"] == ["Not passed on: LD_PRELOAD"]


def test_schema_changes_are_listed_irreversible_first():
    run = RunFactory(generation=2)
    before = snapshot_text({"public.entries": {"id": "bigint", "mood": "text"}})
    after = snapshot_text({"public.entries": {"id": "bigint", "text": "text"}})
    write_artifact(run, "schema_before", before, generation=2)
    assert build_context(run)["schema"] is None, "the backend was not started yet"
    write_artifact(run, "schema_after", after, generation=2)
    found = build_context(run)["schema"]
    kinds = [change.kind for change in found["changes"]]
    assert kinds == ["drops", "adds"]
    assert ("del", "-    mood text,") in found["patch"]
    assert ("add", "+    text text,") in found["patch"]
    assert build_context(RunFactory())["schema"] is None


def test_schema_artifacts_that_are_no_snapshots_are_not_shown():
    run = RunFactory()
    write_artifact(run, "schema_before", snapshot_text())
    write_artifact(run, "schema_after", "CREATE TABLE public.entries ();\n")
    assert build_context(run)["schema"] is None


def test_the_rollback_target_is_shown_until_it_is_live_or_removed():
    live, old = ReleaseFactory(live=True), ReleaseFactory()
    DeploymentFactory(release=live, previous=old)
    run = RunFactory(status=Status.MERGED, release=live)
    assert build_context(run)["release"]["command"] == f"./scripts/rollback.sh {old.pk}"
    assert build_context(run)["release"]["rollback_target"] == old
    assert not build_context(run)["release"]["is_behind"]
    Release.objects.filter(pk=live.pk).update(status=ReleaseStatus.RETIRED)
    newer = ReleaseFactory(live=True)
    assert build_context(run)["release"]["rollback_target"] == old
    assert build_context(run)["release"]["is_behind"]
    Release.objects.filter(pk=newer.pk).update(status=ReleaseStatus.RETIRED)
    Release.objects.filter(pk=old.pk).update(status=ReleaseStatus.LIVE)
    assert build_context(run)["release"]["rollback_target"] is None, "it was taken"
    Release.objects.filter(pk=old.pk).update(
        status=ReleaseStatus.RETIRED, removed_at=timezone.now()
    )
    assert build_context(run)["release"]["rollback_target"] is None, "it is gone"


def test_a_release_that_was_never_healthy_has_no_rollback_target():
    ReleaseFactory(live=True)
    failed = ReleaseFactory(status=ReleaseStatus.FAILED, healthy_at=None)
    DeploymentFactory(release=failed, previous=ReleaseFactory(), outcome="restored")
    run = RunFactory(status=Status.FAILED, release=failed)
    assert build_context(run)["release"]["rollback_target"] is None


def test_running_checks_are_shown_by_command_and_passed_ones_by_name():
    run = RunFactory(status=Status.MERGING)
    assert build_context(run)["checks"] is None
    progress = {"passed": ["lint ."], "running": "pytest -q"}
    step = StepFactory(run=run, name="checks", status=StepStatus.RUNNING, result=progress)
    # A check that prints what the log says of the next one.
    write_artifact(run, "checks_log", "$ lint .\n$ pytest -q\n$ forged\n", step=step)
    found = build_context(run)["checks"]
    assert (found["passed"], found["last"]) == (["lint ."], ["pytest -q"])
    Step.objects.update(status=StepStatus.SUCCEEDED, result={"checks": ["lint", "tests"]})
    found = build_context(run)["checks"]
    assert (found["names"], found["passed"], found["last"]) == (["lint", "tests"], [], [])


def test_a_slot_that_is_being_cleaned_has_no_link():
    run = LeaseFactory(held=True, slot__number=1, state="ending", ending_at=timezone.now()).run
    found = build_context(run)
    assert (found["slot"].slot_id, found["frontend_url"]) == ("preview-1", None)
