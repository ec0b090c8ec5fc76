"""The desk in a real browser: it asks nobody elsewhere, fits a phone, and follows what happens."""

import os
import re

import pytest
from django.conf import settings
from django.urls import reverse
from playwright.sync_api import expect, sync_playwright

from releases.deployments.switch import default_log
from releases.models import Activation
from runs import presenters
from runs.engine.journal import artifacts_folder
from runs.models import Run, Step
from runs.presenters import Difference
from runs.rules import Status, StepStatus
from tests.factories import (
    ActivationFactory,
    ArtifactFactory,
    FreezeFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    StepFactory,
    UserFactory,
)

# Playwright keeps an event loop in this thread, and Django would refuse to ask the database there.
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
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_desk(chromium, live_server):
    """Return a function that logs an operator in; what the pages did wrong is in `page.wrong`."""
    user = UserFactory(username="olga", groups=["operator"])
    user.set_password(PASSWORD)
    user.save()
    contexts = []

    def logged_in(viewport=WIDE, scheme="light"):
        context = chromium.new_context(
            viewport=viewport, color_scheme=scheme, base_url=live_server.url
        )
        contexts.append(context)
        page = context.new_page()
        page.wrong = []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and page.wrong.append(said.text))
        page.on("request", lambda asked: _note_foreign(page, asked.url, live_server.url))
        page.goto("/admin/")
        page.fill("[name=username]", "olga")
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{live_server.url}/admin/")
        return page

    yield logged_in
    for context in contexts:
        context.close()


def _note_foreign(page, url, home):
    if not url.startswith((home, "data:")):
        page.wrong.append(f"asked {url}")


def url_of(run):
    return reverse("admin:runs_run_change", args=[run.pk])


def ready_run():
    return LeaseFactory(
        held=True, slot__number=1, run__status=Status.PREVIEW_READY, run__title="Reactions"
    ).run


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide", "narrow"]
)
def test_no_page_is_wider_than_its_window_or_asks_elsewhere(open_desk, viewport, scheme):
    run, old = ready_run(), ReleaseFactory()
    ReleaseFactory(live=True)
    FreezeFactory()
    RunFactory(title="A title without end " * 8, branch="feature/" + "x" * 150)
    RunFactory(status=Status.FAILED, failure_detail="y" * 400)
    page = open_desk(viewport, scheme)
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
        excess = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert (address, excess <= 0) == (address, True)
    assert page.wrong == []


def test_a_run_is_approved_with_two_clicks(open_desk):
    run = ready_run()
    page = open_desk()
    page.goto(url_of(run))
    expect(page.get_by_role("link", name="Frontend preview")).to_have_attribute(
        "href", settings.OROBOROS.frontend_url(settings.OROBOROS.slot("preview-1"))
    )
    expect(page.get_by_role("link", name="Backend preview")).to_be_visible()
    page.get_by_role("link", name="Approve").click()
    expect(page.get_by_text(run.commit_sha)).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("ships when its turn comes").first).to_be_visible()
    expect(page.locator(".oro-head .oro-chip")).to_have_text("Approved")
    run.refresh_from_db()
    assert run.status == Status.APPROVED


def test_a_page_of_an_older_commit_never_offers_to_approve_a_newer_one(open_desk, monkeypatch):
    def patch(run, repo):
        text = f"diff --git a/app.py b/app.py\n+of {run.commit_sha}\n"
        return Difference("0" * 40, run.commit_sha, patch=text)

    monkeypatch.setattr(presenters, "difference", patch)
    run, newer = ready_run(), "b" * 40
    page = open_desk()
    page.goto(url_of(run))
    expect(page.locator(".oro-patch .add")).to_have_text(f"+of {run.commit_sha}")
    Run.objects.filter(pk=run.pk).update(commit_sha=newer)
    expect(page.get_by_role("link", name="Approve")).to_have_attribute("href", re.compile(newer))
    assert page.locator(".oro-patch .add").inner_text().strip() == f"+of {newer}"
    assert page.wrong == []


def test_a_running_steps_log_and_state_are_followed_without_a_reload(open_desk):
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREPARING).run
    step = StepFactory(run=run, name="install", status=StepStatus.RUNNING)
    log = ArtifactFactory(run=run, step=step, name="install_log")
    path = artifacts_folder(settings.OROBOROS) / log.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("first <b>line</b>\n")
    page = open_desk()
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
    assert page.wrong == []


def test_a_rollback_is_followed_to_its_end(open_desk):
    switch = ActivationFactory(
        previous=ReleaseFactory(live=True), kind="rollback", outcome="running", ended_at=None
    )
    log = default_log(settings.OROBOROS, switch)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("line\n" * 150)
    page = open_desk()
    page.goto(reverse("admin:releases_activation_change", args=[switch.pk]))
    expect(page.locator(".oro-log")).to_contain_text("line")
    log.write_text("line\n" * 150 + "the old colour is drained\n")
    Activation.objects.update(outcome="succeeded", ended_at=switch.started_at)
    expect(page.locator(".oro-chip")).to_have_text("Succeeded")
    box = page.locator(".oro-log")
    expect(box).to_contain_text("the old colour is drained")
    end = "box => box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 1"
    assert box.evaluate(end)
    assert page.wrong == []
