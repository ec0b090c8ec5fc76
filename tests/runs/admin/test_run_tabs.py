"""The head of a run's page, and its tabs: which it has, and what they do in a browser."""

import re

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from runs.admin.run_page import PANELS, list_tabs, summarize_stages, track_stages
from runs.models import Artifact, Run
from runs.pipelines import preview, shipping
from runs.rules import Status, StepStatus
from runs.timeline import Stage
from tests.chromium import NARROW
from tests.factories import EventFactory, LeaseFactory, UserFactory
from tests.runs.admin.rows import create_rows

ALL = ["overview", "changes", "logs", "schema", "environment", "mail", "activity"]


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (Run(prepare=True, commit_sha="a" * 40), ALL),
        (Run(prepare=True), ALL),  # its changes say why there are none
        (Run(prepare=False), ["overview", "logs", "activity"]),
        (Run(prepare=False, commit_sha="a" * 40), ["overview", "changes", "logs", "activity"]),
    ],
)
def test_a_run_has_the_tabs_that_it_can_fill(run, names):
    assert list(list_tabs(run, mail_count=0, file_count=None)) == names


def test_tabs_count_files_and_mails():
    tabs = list_tabs(Run(prepare=True), mail_count=0, file_count=301)
    assert 'data-part="mail-count"></span>' in tabs["mail"].title  # filled by live.js
    assert ">301</span>" in tabs["changes"].title
    tabs = list_tabs(Run(prepare=True), mail_count=2, file_count=None)
    assert ">2</span>" in tabs["mail"].title
    assert tabs["changes"].title == "Changes"


def test_no_tab_has_the_name_of_a_stage_whose_log_links_lead_to():
    stages = {step.name for step in (*preview.STEPS, *shipping.STEPS)}
    assert stages.isdisjoint(name for name, _, _ in PANELS)


@pytest.mark.parametrize(
    ("statuses", "text"),
    [
        (["not started"] * 2, "0 of 2 steps done"),
        ([StepStatus.SUCCEEDED, StepStatus.RUNNING], "1 of 2 steps done, s1 is running"),
        ([StepStatus.FAILED, "not reached"], "0 of 2 steps done, s0 has failed"),
        ([StepStatus.SUCCEEDED] * 2, "2 of 2 steps done"),
    ],
)
def test_the_progress_says_how_far_a_pipeline_is(statuses, text):
    stages = [Stage(f"s{at}", status) for at, status in enumerate(statuses)]
    assert summarize_stages(stages) == text


def test_the_progress_links_to_the_log_of_each_stage_that_has_one():
    logged = Stage("build", StepStatus.FAILED, log=Artifact(name="build_log"))
    first, second = track_stages([logged, Stage("migrate", "not reached")])
    assert (first["href"], first["tooltip"]) == ("#build", "build: failed")
    assert (second["href"], second["color"]) == ("#logs", "")


@pytest.fixture
def operator(client):
    client.force_login(UserFactory(username="olga", groups=["operator"]))
    return client


@pytest.mark.django_db
def test_each_tab_has_its_panel_and_the_decisions_are_in_the_head_alone(operator):
    page = operator.get(url_of(create_rows())).content.decode()
    assert re.findall(r'<div class="oro-panel" id="(\w+)" data-panel>', page) == ALL
    head, _, panels = page.partition('id="overview"')
    for name in ALL:
        assert f'<a href="#{name}"' in head
    for action in ("approve", "reject"):
        assert head.count(f'data-action="{action}"') == 1
        assert f'data-action="{action}"' not in panels
    assert 'data-action="cancel"' in panels
    assert "Merge: " in head


def url_of(run):
    return reverse("admin:runs_run_change", args=[run.pk])


@pytest.fixture
def ready():
    return LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_tab_shows_its_panel_keeps_the_focus_and_is_kept_by_updates(open_admin, ready):
    page = open_admin(NARROW, "dark")
    page.goto(url_of(ready))
    shown = page.locator("[data-panel]:visible")
    expect(shown).to_have_attribute("id", "overview")
    head = page.locator(".oro-sticky")
    before = head.bounding_box()
    tab = page.locator("#tabs-items a", has_text="Activity")
    tab.focus()
    page.keyboard.press("Enter")
    expect(shown).to_have_attribute("id", "activity")
    expect(tab).to_be_focused()
    expect(tab).to_have_attribute("aria-current", "true")
    expect(tab).to_be_in_viewport(ratio=1)
    assert head.bounding_box() == before
    EventFactory(run=ready, text="something new")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator("[data-part=events]")).to_contain_text("something new")
    expect(shown).to_have_attribute("id", "activity")
    expect(tab).to_be_focused()
    expect(tab).to_have_class(re.compile("active"))
    page.go_back()
    expect(shown).to_have_attribute("id", "overview")
    page.goto(f"{url_of(ready)}#comments")
    expect(shown).to_have_attribute("id", "changes")
    page.goto(f"{url_of(ready)}#%E0%A4%A")  # a broken escape names nothing
    expect(shown).to_have_attribute("id", "changes")
    page.reload()
    expect(shown).to_have_attribute("id", "overview")
    assert page.problems == []


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_the_head_of_a_long_page_stays_in_sight(open_admin, ready):
    for number in range(60):
        EventFactory(run=ready, text=f"event {number}")
    page = open_admin(NARROW)
    page.goto(f"{url_of(ready)}#activity")
    expect(page.locator("#tabs-items a", has_text="Activity")).to_be_in_viewport(ratio=1)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator(".oro-sticky")).to_be_in_viewport(ratio=1)
    assert page.locator(".oro-sticky").bounding_box()["height"] < NARROW["height"] / 4
    expect(page.get_by_role("link", name="Approve")).to_be_in_viewport()
    page.locator("#tabs-items a", has_text="Overview").click()
    # Its beginning, not where the other panel was left.
    expect(page.locator("[data-part=details]")).to_be_in_viewport()
    assert page.problems == []


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_without_scripts_all_panels_are_shown(open_admin, ready):
    page = open_admin()
    state = page.context.storage_state()
    plain = page.context.browser.new_context(
        java_script_enabled=False, storage_state=state, base_url=page.url
    )
    try:
        shown = plain.new_page()
        shown.goto(url_of(ready))
        expect(shown.locator("[data-panel]:visible")).to_have_count(len(ALL))
    finally:
        plain.close()
