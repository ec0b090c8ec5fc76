"""The admin in a real browser: no foreign requests, narrow windows, live updates."""

import os
import re
from dataclasses import replace

import pytest
from django.conf import settings
from django.urls import reverse
from playwright.sync_api import expect, sync_playwright

from releases.deployments.deployment_steps import deployment_log_path
from releases.models import Deployment
from runs import difference
from runs.admin.run_page import IDENTITY_PATH
from runs.difference import Difference, FileChange
from runs.engine.artifacts import artifacts_folder
from runs.models import Run, Step
from runs.rules import Status, StepStatus
from slots.runtime import surface
from tests.environment import free_port
from tests.factories import (
    ArtifactFactory,
    DeploymentFactory,
    FreezeFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    StepFactory,
    UserFactory,
)
from tests.slots.runtime.surface_server import caddy

# Playwright runs an event loop in this thread, in which Django refuses database queries.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "only-for-this-test-in-a-browser"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# An idle page is reloaded every 4 s.
expect.set_options(timeout=20_000)
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_admin(chromium, live_server):
    """Return a function that logs an operator in; `page.problems` lists errors, foreign loads."""
    user = UserFactory(username="olga", groups=["operator"])
    user.set_password(PASSWORD)
    user.save()
    contexts = []

    def log_in(viewport=WIDE, scheme="light"):
        context = chromium.new_context(
            viewport=viewport, color_scheme=scheme, base_url=live_server.url
        )
        context.route(f"**{IDENTITY_PATH}", answer_as_no_run)
        contexts.append(context)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "console",
            lambda message: message.type == "error" and page.problems.append(message.text),
        )
        page.on("request", lambda request: _record_foreign(page, request.url, live_server.url))
        page.goto("/admin/")
        page.fill("[name=username]", "olga")
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{live_server.url}/admin/")
        return page

    yield log_in
    for context in contexts:
        context.close()


def answer_as_no_run(route):
    """Answer the check of a preview, which does not run, as the surface of another run does."""
    answer = {"run": None, "detail": "This slot is free."}
    route.fulfill(status=200, json=answer, headers={"Access-Control-Allow-Origin": "*"})


def _record_foreign(page, url, home):
    if not url.endswith(IDENTITY_PATH) and not url.startswith((home, "data:")):
        page.problems.append(f"loaded {url}")


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
    page = open_admin(viewport, scheme)
    addresses = [
        "/admin/",
        "/admin/runs/run/",
        "/admin/runs/run/new/",
        *(url_of(one) for one in Run.objects.all()),
        f"/admin/runs/run/{run.pk}/approve/",
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
    expect(page.get_by_text("ships when it is first in the merge queue").first).to_be_visible()
    expect(page.locator(".oro-head .oro-chip")).to_have_text("Approved")
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
    page.goto(url_of(run))
    box = page.locator("[data-part=stage-install] .oro-log")
    expect(box).to_contain_text("first <b>line</b>")
    with path.open("a") as file:
        file.write("second line é\n")
    expect(box).to_contain_text("second line é")
    Step.objects.filter(pk=step.pk).update(status=StepStatus.SUCCEEDED, ended_at=step.started_at)
    expect(page.locator("[data-part=stage-install]")).to_contain_text("succeeded")
    expect(box).to_contain_text("first <b>line</b>")
    Run.objects.filter(pk=run.pk).update(
        status=Status.FAILED, failure_code="BUILD_FAILED", ended_at=step.started_at
    )
    expect(page.locator("[data-part=failure]")).to_contain_text("BUILD_FAILED")
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
    log.write_text("line\n" * 150 + "the old colour is drained\n")
    Deployment.objects.update(outcome="succeeded", ended_at=switch.started_at)
    expect(page.locator(".oro-chip")).to_have_text("Succeeded")
    box = page.locator(".oro-log")
    expect(box).to_contain_text("the old colour is drained")
    end = "box => box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 1"
    assert box.evaluate(end)
    assert page.problems == []
