"""The admin in a real browser: no foreign requests, narrow windows, live updates."""

import re
from dataclasses import replace

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import expect

from host.deadline import wait_until
from releases.deployments.deployment_steps import deployment_log_path
from releases.models import Deployment
from runs import difference
from runs.difference import Difference, FileChange
from runs.engine.artifacts import artifacts_folder
from runs.models import Run, Step
from runs.rules import Status, StepStatus
from slots.runtime import surface
from tests.chromium import NARROW, WIDE
from tests.environment import free_port
from tests.factories import (
    ArtifactFactory,
    DeploymentFactory,
    FreezeFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    StepFactory,
)
from tests.slots.runtime.surface_server import caddy

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


# Cells of a list whose text is higher than they are.
COUNT_CUT_CELLS = """() => [...document.querySelectorAll("#result_list .data-row > *")]
    .filter((cell) => cell.scrollHeight > cell.clientHeight + 1).length"""


def url_of(run):
    return reverse("admin:runs_run_change", args=[run.pk])


def create_ready_run():
    return LeaseFactory(
        held=True, slot__number=1, run__status=Status.PREVIEW_READY, run__title="Reactions"
    ).run


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [pytest.param(WIDE, "light", marks=pytest.mark.full), (NARROW, "dark")],
    ids=["wide", "narrow"],
)
def test_no_page_overflows_its_window_or_loads_from_other_hosts(open_admin, viewport, scheme):
    run, old = create_ready_run(), ReleaseFactory()
    ReleaseFactory(live=True)
    FreezeFactory()
    RunFactory(title="A title without end " * 8, branch="feature/" + "x" * 150)
    RunFactory(status=Status.FAILED, failure_detail="y" * 400)
    FreezeFactory(reason="The accounts of March are closed, and nothing may ship before " * 4)
    page = open_admin(viewport, scheme)
    User.objects.update(is_superuser=True)
    addresses = [
        "/admin/",
        "/admin/auth/user/add/",
        "/admin/runs/run/",
        "/admin/runs/run/new/",
        *(url_of(one) for one in Run.objects.all()),
        f"/admin/runs/run/{run.pk}/approve/",
        "/admin/runs/freeze/",
        "/admin/slots/slot/",
        "/admin/releases/release/",
        f"/admin/releases/release/{old.pk}/change/",
        f"/admin/releases/release/{old.pk}/rollback/",
        "/api/docs/",
    ]
    for address in addresses:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert (address, overflow <= 0) == (address, True)
        assert (address, page.evaluate(COUNT_CUT_CELLS)) == (address, 0)
    assert page.problems == []


def test_a_run_is_approved_with_two_clicks(open_admin):
    run = create_ready_run()
    page = open_admin()
    page.goto(url_of(run))
    expect(page.get_by_role("link", name="Frontend preview")).to_have_attribute(
        "href", settings.OROBOROS.frontend_url(settings.OROBOROS.slot("preview-1"), run.label)
    )
    expect(page.get_by_role("link", name="Backend preview")).to_be_visible()
    page.get_by_role("link", name="Approve").click()
    expect(page.get_by_text(run.commit_sha)).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text(f"You approved {run.commit_sha[:12]}.")).to_be_visible()
    expect(page.locator(".oro-status")).to_contain_text("Approved")
    run.refresh_from_db()
    assert run.status == Status.APPROVED


def test_the_run_page_says_whether_the_link_shows_its_run(open_admin, settings):
    first, *others = settings.OROBOROS.slots
    slot = replace(first, web_port=free_port(), backend_port=free_port())
    settings.OROBOROS = config = replace(settings.OROBOROS, slots=(slot, *others))
    run = create_ready_run()
    own = (run.pk, run.commit_sha, run.label)
    page = open_admin()
    page.context.unroute_all()
    page.goto(url_of(run))
    note = page.locator("[data-preview-check]")
    expect(note).to_contain_text("does not answer as a preview")
    with caddy(config, "preview1"):
        for shown, commit, label, text in (
            (*own, "the link shows this run"),
            (run.pk, "f" * 40, run.label, "shows commit ffffffffffff of this run"),
            ("17", run.commit_sha, run.label, "shows another run, 17"),
            (run.pk, run.commit_sha, "other-1a2b3c", "now has the preview other-1a2b3c"),
        ):
            surface.show_live(config, slot, shown, commit, None, label=label)
            for address in (url_of(run), f"/admin/runs/run/{run.pk}/approve/"):
                page.goto(f"{address}?commit_sha={run.commit_sha}")
                expect(note).to_contain_text(text)
                role = "status" if (shown, commit, label) == own else "alert"
                expect(note).to_have_attribute("role", role)
        surface.show_free(config, slot)
        page.goto(url_of(run))
        expect(note).to_contain_text("This slot is free")


def test_a_new_commit_reloads_the_page_before_it_can_be_approved(open_admin, monkeypatch):
    def patch(run, repo, path):
        file = FileChange("app.py", "modified", lines=[("add", f"+of {run.commit_sha}")])
        return Difference("0" * 40, run.commit_sha, changes=[file])

    monkeypatch.setattr(difference, "compute_difference", patch)
    run, newer = create_ready_run(), "b" * 40
    page = open_admin()
    page.goto(url_of(run))
    expect(page.locator(".oro-patch .add")).to_have_text(f"+of {run.commit_sha}")
    Run.objects.filter(pk=run.pk).update(commit_sha=newer)
    expect(page.get_by_role("link", name="Approve")).to_have_attribute("href", re.compile(newer))
    assert page.locator(".oro-patch .add").inner_text().strip() == f"+of {newer}"
    assert page.problems == []


def test_the_log_and_status_of_a_running_step_update_without_a_reload(open_admin):
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREPARING).run
    step = StepFactory(run=run, name="install", status=StepStatus.RUNNING)
    log = ArtifactFactory(run=run, step=step, name="install_log")
    path = artifacts_folder(settings.OROBOROS) / log.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("first <b>line</b>\n")
    page = open_admin()
    page.goto(f"{url_of(run)}#logs")
    assert page.locator(".oro-line b").count() == 0
    box = page.locator("[data-part=stage-install] .oro-log")
    expect(box).to_contain_text("first <b>line</b>")
    with path.open("a") as file:
        file.write("second line é\n")
    expect(box).to_contain_text("second line é")
    tools = page.locator("[data-part=stage-install] [data-log-tools]")
    tools.get_by_role("searchbox").fill("LINE")
    expect(tools.locator("[data-log-count]")).to_have_text("1 of 2 lines")
    page.keyboard.press("Enter")
    expect(tools.locator("[data-log-count]")).to_have_text("2 of 2 lines")
    assert "install_log" in tools.get_by_role("link", name="Download").get_attribute("href")
    Step.objects.filter(pk=step.pk).update(status=StepStatus.SUCCEEDED, ended_at=step.started_at)
    expect(page.locator("[data-part=stage-install]")).to_contain_text("succeeded")
    expect(box).to_contain_text("first <b>line</b>")
    expect(tools.locator("[data-log-count]")).to_have_text("2 of 2 lines")  # what was typed stays
    Run.objects.filter(pk=run.pk).update(
        status=Status.FAILED, failure_code="BUILD_FAILED", ended_at=step.started_at
    )
    expect(page.locator("[data-part=failure]")).to_contain_text("BUILD_FAILED")
    assert page.problems == []


def test_a_link_opens_its_line_of_a_log_in_which_only_colours_have_an_effect(open_admin):
    run = RunFactory(status=Status.FAILED, failure_code="BUILD_FAILED", generation=1)
    step = StepFactory(run=run, name="build", status=StepStatus.FAILED, generation=1)
    log = ArtifactFactory(run=run, step=step, name="build_log", generation=1)
    path = artifacts_folder(settings.OROBOROS) / log.path
    path.parent.mkdir(parents=True, exist_ok=True)
    odd = "\x1b[1;31mred\x1b[0m \x1b[30;40;8mhidden\x1b[0m \x1b]0;title\x07 \x1b[2J \u202e<i>\n"
    path.write_text("".join(odd if at == 2500 else f"line {at}\n" for at in range(1, 4001)))
    page = open_admin()
    page.goto(f"{url_of(run)}#build-L2500")
    line = page.locator("#build-L2500")
    expect(line).to_have_class(re.compile("linked"))
    expect(line).to_be_in_viewport()
    expect(line.locator("span")).to_have_text(
        ["red hidden <U+001B>]0;title<U+0007> <U+001B>[2J <U+202E><i>", "red", "hidden"]
    )
    expect(line.locator(".oro-log-bold.oro-log-red")).to_have_text("red")
    stage = page.locator("[data-part=stage-build]")
    stage.get_by_role("searchbox").fill("line 3999")
    page.keyboard.press("Enter")
    expect(page.locator("#build-L3999")).to_have_class(re.compile("linked"))
    expect(page.locator("#build-L1")).to_have_count(0)
    page.goto(f"{url_of(run)}#build-L5")
    expect(page.locator("#build-L5")).to_have_class(re.compile("linked"))
    stage.get_by_role("button", name="Later lines").click()
    expect(page.locator("#build-L1500")).to_contain_text("line 1500")
    assert page.problems == []


def test_the_page_of_a_rollback_updates_until_its_end(open_admin):
    switch = DeploymentFactory(
        previous=ReleaseFactory(live=True), kind="rollback", outcome="running", ended_at=None
    )
    log = deployment_log_path(settings.OROBOROS, switch)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("line\n" * 150)
    page = open_admin()
    page.goto(reverse("admin:releases_deployment_change", args=[switch.pk]))
    expect(page.locator(".oro-log")).to_contain_text("line")
    with log.open("a") as file:
        file.write("the old colour is drained\n")
    Deployment.objects.update(outcome="succeeded", ended_at=switch.started_at)
    expect(page.locator(".oro-chip")).to_have_text("Succeeded")
    box = page.locator(".oro-log")
    expect(box).to_contain_text("the old colour is drained")
    end = "box => box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 1"
    assert wait_until(lambda: box.evaluate(end), seconds=60)
    assert page.problems == []


def test_selected_runs_are_canceled_from_the_filtered_list(open_admin):
    for title in ("One", "Two"):
        RunFactory(title=title, branch=f"try/{title}", created_by="olga")
    RunFactory(title="Other", branch="fix/other", created_by="pat")
    page = open_admin(NARROW, "dark")
    page.goto(f"{reverse('admin:runs_run_changelist')}?branch__icontains=try&mine=1")
    expect(page.locator("[name=_selected_action]")).to_have_count(2)
    page.locator("#action-toggle").check()
    page.locator("select[name=action]").select_option("cancel")
    page.locator("button[name=index]").click()
    expect(page.get_by_role("heading", name="Cancel: 2 selected")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/admin/runs/run/")
    expect(page.get_by_text("You canceled the run.")).to_have_count(2)
    assert {run.title for run in Run.objects.filter(status=Status.CANCELED)} == {"One", "Two"}
    assert page.problems == []
