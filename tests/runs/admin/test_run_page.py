"""What a run's page gathers."""

from datetime import timedelta

import pytest
from django.utils import timezone

from releases.models import Release
from releases.rules import ReleaseStatus
from runs import presenters
from runs.admin import run_page
from runs.models import Step
from runs.pipelines import preview, shipping
from runs.presenters import Difference
from runs.rules import Status, StepStatus
from tests.factories import (
    ActivationFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    StepFactory,
)
from tests.runs.admin.artifacts import written
from web.templatetags.presentation import first_line, lasting, other_lines

pytestmark = pytest.mark.django_db


def gathered(run):
    return run_page.context(presenters.runs().get(pk=run.pk), is_live=True)


def test_the_timeline_has_the_steps_to_come():
    run = RunFactory(status=Status.PREPARING)
    StepFactory(run=run, name="lease")
    StepFactory(run=run, name="worktree", status=StepStatus.RUNNING)
    groups = dict(gathered(run)["timeline"])
    names = [stage.name for stage in (*groups["Preview"], *groups["Shipping"])]
    assert names == [action.name for action in (*preview.ACTIONS, *shipping.ACTIONS)]
    assert [stage.status for stage in groups["Preview"][:3]] == ["succeeded", "running", "to come"]


def test_a_run_that_ended_has_no_steps_to_come_and_a_reservation_none():
    ended = gathered(RunFactory(status=Status.CANCELED))["timeline"]
    assert {stage.status for _, stages in ended for stage in stages} == {"not reached"}
    assert gathered(RunFactory(prepare=False))["timeline"] == []


def test_a_failure_says_each_thing_once():
    detail = "tests ended with exit code 1:\n$ tests\nFAILED"
    run = RunFactory(status=Status.FAILED, failure_code="CHECKS_FAILED", failure_detail=detail)
    step = StepFactory(run=run, name="checks", status=StepStatus.FAILED)
    written(run, "checks_log", "more\n$ tests\nFAILED\n", step=step)
    failure = gathered(run)["failure"]
    assert failure["detail"] == "tests ended with exit code 1:"
    assert failure["lines"] == "more\n$ tests\nFAILED"
    assert failure["cause"]
    assert failure["remedy"]


def test_a_failure_whose_detail_is_not_in_the_log_keeps_it():
    run = RunFactory(
        status=Status.FAILED, failure_code="MERGE_CONFLICT", failure_detail="in:\napp.py"
    )
    assert gathered(run)["failure"]["detail"] == "in:\napp.py"
    assert gathered(run)["failure"]["lines"] == ""


def test_the_environment_is_shown_with_where_each_value_came_from():
    run = RunFactory()
    lines = "PORT=8101  # the slot\nURL=a=b  # c  # mapping\n\nNot passed on: LD_PRELOAD\n"
    written(run, "environment", lines)
    found = gathered(run)["environment"]
    assert found["values"] == [
        {"name": "PORT", "value": "8101", "origin": "the slot"},
        {"name": "URL", "value": "a=b  # c", "origin": "mapping"},
    ]
    assert found["notes"] == ["Not passed on: LD_PRELOAD"]


def test_what_the_migrations_did_to_the_schema_is_shown_the_irreversible_first():
    run = RunFactory(generation=2)
    table = "CREATE TABLE public.entries (\n    id bigint NOT NULL,\n    {} text\n);\n"
    written(run, "schema_before", table.format("mood"), generation=2)
    assert gathered(run)["schema"] is None, "the backend was not started yet"
    written(run, "schema_after", table.format("text"), generation=2)
    found = gathered(run)["schema"]
    kinds = [change.kind for change in found["changes"]]
    assert kinds == ["drops", "adds"]
    assert ("del", "-    mood text") in found["patch"]
    assert ("add", "+    text text") in found["patch"]
    assert gathered(RunFactory())["schema"] is None


def test_the_way_back_is_shown_until_it_was_taken_or_is_gone():
    live, old = ReleaseFactory(live=True), ReleaseFactory()
    ActivationFactory(release=live, previous=old)
    run = RunFactory(status=Status.MERGED, release=live)
    assert gathered(run)["release"]["command"] == f"./scripts/rollback.sh {old.pk}"
    assert gathered(run)["release"]["back"] == old
    assert not gathered(run)["release"]["is_behind"]
    Release.objects.filter(pk=live.pk).update(status=ReleaseStatus.RETIRED)
    newer = ReleaseFactory(live=True)
    assert gathered(run)["release"]["back"] == old
    assert gathered(run)["release"]["is_behind"]
    Release.objects.filter(pk=newer.pk).update(status=ReleaseStatus.RETIRED)
    Release.objects.filter(pk=old.pk).update(status=ReleaseStatus.LIVE)
    assert gathered(run)["release"]["back"] is None, "it was taken"
    Release.objects.filter(pk=old.pk).update(
        status=ReleaseStatus.RETIRED, removed_at=timezone.now()
    )
    assert gathered(run)["release"]["back"] is None, "it is gone"


def test_a_release_that_never_was_healthy_has_no_way_back():
    ReleaseFactory(live=True)
    failed = ReleaseFactory(status=ReleaseStatus.FAILED, healthy_at=None)
    ActivationFactory(release=failed, previous=ReleaseFactory(), outcome="restored")
    run = RunFactory(status=Status.FAILED, release=failed)
    assert gathered(run)["release"]["back"] is None


def test_the_checks_begun_are_shown_while_they_run_and_their_names_in_the_end():
    run = RunFactory(status=Status.MERGING)
    assert gathered(run)["checks"] is None
    step = StepFactory(run=run, name="checks", status=StepStatus.RUNNING)
    written(run, "checks_log", "2 checks\n$ lint .\nfine\n$ pytest -q\n....\n", step=step)
    found = gathered(run)["checks"]
    assert (found["passed"], found["last"]) == (["lint ."], ["pytest -q"])
    Step.objects.update(status=StepStatus.SUCCEEDED, result={"checks": ["lint", "tests"]})
    found = gathered(run)["checks"]
    assert (found["names"], found["passed"], found["last"]) == (["lint", "tests"], [], [])


def test_a_slot_that_is_being_cleaned_is_not_linked():
    run = LeaseFactory(held=True, slot__number=1, state="ending", ending_at=timezone.now()).run
    found = gathered(run)
    assert (found["slot"].slot_id, found["frontend_url"]) == ("preview-1", None)


def test_a_patch_is_split_by_file_and_its_lines_are_told_apart():
    patch = "diff --git a/x b/m/1.sql\n--- a/x\n+++ b/m/1.sql\n@@ -1 +1 @@\n-old\n+new\n same\n"
    [file] = run_page.patch(Difference("a", "b", migrations=["m/1.sql"], patch=patch))
    assert (file["name"], file["is_migration"]) == ("m/1.sql", True)
    assert [kind for kind, _ in file["lines"]] == ["file", "file", "hunk", "del", "add", ""]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3900, "1 h 05 min")]
)
def test_a_duration_is_written_as_people_say_it(seconds, text):
    assert lasting(seconds) == text
    assert lasting(timedelta(seconds=seconds).total_seconds()) == text


def test_a_long_text_has_a_first_line_and_others():
    assert (first_line("a\nb\nc"), other_lines("a\nb\nc")) == ("a", "b\nc")
    assert (first_line("a"), other_lines("a")) == ("a", "")
