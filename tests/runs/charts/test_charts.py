"""The charts of the last 30 days: what they count, and how they get into the dashboard."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from runs.charts import page
from runs.charts.figures import Day, read_figures
from runs.models import Run
from tests.factories import DeploymentFactory, LeaseFactory, RunFactory, SlotFactory, UserFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=40)


def create_run(status, *, ended_at, seconds=0, **fields):
    created_at = ended_at - timedelta(seconds=seconds)
    return RunFactory(status=status, created_at=created_at, ended_at=ended_at, **fields)


@pytest.fixture(autouse=True)
def utc():
    with timezone.override(UTC):
        yield


def test_the_lead_time_is_the_median_of_the_runs_that_were_merged():
    for seconds in (60, 100, 600):
        create_run("merged", ended_at=NOW, seconds=seconds)
    create_run("merged", ended_at=NOW - timedelta(days=2), seconds=20)
    create_run("merged", ended_at=LONG_AGO, seconds=9)
    create_run("rejected", ended_at=NOW, seconds=9)
    figures = read_figures(NOW)
    assert (figures.merged, figures.lead) == (4, timedelta(seconds=80))
    assert figures.slow_lead == timedelta(seconds=525)
    assert len(figures.days) == 30
    assert figures.days[-1] == Day(NOW.date(), merged=3, lead=timedelta(seconds=100))
    assert figures.days[-2].is_empty
    assert figures.days[-3].lead == timedelta(seconds=20)


def test_failures_are_counted_by_code_the_most_frequent_first():
    for code in ("BUILD_FAILED", "CHECKS_FAILED", "CHECKS_FAILED"):
        create_run("failed", ended_at=NOW, failure_code=code)
    create_run("failed", ended_at=LONG_AGO, failure_code="DISK_FULL")
    create_run("expired", ended_at=NOW, failure_code="PREVIEW_EXPIRED")
    assert read_figures(NOW).failures == [("CHECKS_FAILED", 2), ("BUILD_FAILED", 1)]


def test_a_slots_use_is_the_share_of_the_time_that_it_was_held():
    first, second, _ = (SlotFactory(number=number) for number in (1, 2, 3))
    hour = timedelta(hours=1)
    for slot, fence, begin, end in (
        (first, 1, NOW - 50 * 24 * hour, NOW - 49 * 24 * hour),
        (first, 2, NOW - 40 * 24 * hour, NOW - (708 - 50) * hour),
        (second, 1, NOW - 100 * hour, None),
    ):
        state = "ended" if end else "held"
        LeaseFactory(
            held=True, slot=slot, fence=fence, requested_at=begin, ended_at=end, state=state
        )
    LeaseFactory(requested_at=NOW - 5 * hour)
    used = dict(read_figures(NOW).slots)
    # The window begins 29 days and 12 hours ago, with the first of 30 days.
    assert used == pytest.approx({"preview-1": 50 / 708, "preview-2": 100 / 708, "preview-3": 0})


def test_a_slots_use_begins_with_the_first_lease_of_a_new_install():
    begin = NOW - timedelta(hours=10)
    LeaseFactory(held=True, slot__number=1, requested_at=begin)
    SlotFactory(number=2)
    assert read_figures(NOW).slots == [("preview-1", pytest.approx(1.0)), ("preview-2", 0.0)]


def test_deployments_are_counted_by_their_day_and_outcome():
    day = NOW - timedelta(days=1)
    for kind, outcome in (
        ("deploy", "succeeded"),
        ("deploy", "succeeded"),
        ("deploy", "restored"),
        ("rollback", "succeeded"),
        ("rollback", "stuck"),
    ):
        DeploymentFactory(kind=kind, outcome=outcome, started_at=day, ended_at=day)
    DeploymentFactory(started_at=LONG_AGO)
    [counted] = [one for one in read_figures(NOW).days if not one.is_empty]
    assert counted == Day(day.date(), deployed=2, failed=2, rolled_back=1)


def test_a_day_without_a_merge_has_no_bar_of_the_lead_time():
    days = [Day(NOW.date()), Day(NOW.date(), merged=1, lead=timedelta(seconds=90), failed=2)]
    assert page.build_chart(days, page.LEAD)["datasets"][0]["data"] == [None, 1.5]
    failed = page.build_chart(days, page.DEPLOYMENTS)["datasets"][1]
    assert (failed["label"], failed["data"]) == ("Failed", [0, 2])


def open_charts(query=""):
    client = Client()
    client.force_login(UserFactory(groups=["viewer"]))
    answer = client.get(f"/admin/runs/run/charts/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_opens_without_any_row():
    text = open_charts()
    assert "No run was merged" in text
    assert "No run failed" in text
    assert "<canvas" not in text


def test_the_page_has_its_charts_as_text_too():
    now = timezone.now()
    create_run("merged", ended_at=now, seconds=600)
    create_run("failed", ended_at=now, failure_code="BUILD_FAILED")
    text = open_charts("?live=1")
    assert text.count("<canvas") == 2
    assert (
        '<a href="/admin/runs/run/?failure_code=BUILD_FAILED">BUILD_FAILED</a> <span>1</span>'
        in text
    )
    assert f'<th scope="row">{now:%Y-%m-%d}</th><td>1</td><td>10 min</td>' in text
    assert "<head>" not in text  # the dashboard has one


@pytest.mark.parametrize("number", [1, 30])
def test_the_figures_need_five_queries_for_any_number_of_rows(number, django_assert_num_queries):
    for hours in range(number):
        at = NOW - timedelta(hours=20 * hours)
        run = create_run("merged", ended_at=at)
        DeploymentFactory(started_at=at, ended_at=at)
        LeaseFactory(run=run, held=True, requested_at=at, state="ended", ended_at=at)
    assert Run.objects.count() == number
    with django_assert_num_queries(5):
        read_figures(NOW)
