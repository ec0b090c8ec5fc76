"""Pages that reload their parts, in a real browser: what they say when they cannot, and focus."""

import re
from datetime import timedelta

import pytest
from django.db.models import F
from django.urls import reverse
from playwright.sync_api import expect

from runs.models import Run
from runs.rules import Status
from slots.models import Lease
from tests.factories import EventFactory, LeaseFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LIVE = re.compile(r"[?&]live=1")
# The page then asks for news at once, as it does after some seconds by itself.
ASK = "window.dispatchEvent(new Event('online'))"
SECOND_MS = 1000


@pytest.fixture
def page(open_admin):
    """The page of a ready run."""
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run
    page = open_admin()
    page.clock.install()
    page.goto(reverse("admin:runs_run_change", args=[run.pk]))
    return page


def test_a_page_whose_server_is_away_says_so_and_stops_its_countdown(page):
    note, left = page.locator(".oro-stale"), page.locator("[data-until]").first
    expect(left).to_contain_text("left")
    page.route(LIVE, lambda route: route.abort())
    page.evaluate(ASK)
    expect(note).to_contain_text(re.compile(r"Not updating since .*: the server does not answer"))
    before = left.inner_text()
    page.clock.run_for(120 * SECOND_MS)
    assert left.inner_text() == before
    page.unroute(LIVE)
    Lease.objects.update(expires_at=F("expires_at") + timedelta(hours=2))
    note.get_by_role("button", name="Retry").click()
    expect(note).to_have_count(0)
    expect(left).to_contain_text(re.compile(r"^5 h \d\d min left$"))


def test_a_page_whose_device_is_offline_says_so(page):
    page.context.set_offline(True)
    expect(page.locator(".oro-stale")).to_contain_text("this device is offline")
    page.context.set_offline(False)
    expect(page.locator(".oro-stale")).to_have_count(0)


def test_a_page_whose_session_has_ended_leads_to_the_log_in_and_back(page):
    page.context.clear_cookies()
    page.evaluate(ASK)
    note = page.locator(".oro-stale")
    expect(note).to_contain_text("your session has ended")
    note.get_by_role("link", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/admin/login/\?next=%2Fadmin%2Fruns%2Frun%2F"))


def test_an_update_leaves_the_focus_and_the_position_of_the_page(page):
    run = Run.objects.get()
    page.set_viewport_size({"width": 1440, "height": 300})
    reject = page.get_by_role("link", name="Reject")
    reject.focus()
    position = page.evaluate("[scrollY, document.activeElement.getBoundingClientRect().top]")
    EventFactory(run=run, text="something new")
    # As long as before, and in the part that has the focus: only parts that change are touched.
    Run.objects.update(title=run.title.swapcase())
    page.evaluate(ASK)
    expect(page.locator("[data-part=head] h1")).to_have_text(run.title.swapcase())
    expect(page.locator("[data-part=events]")).to_contain_text("something new")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Reject"
    now = page.evaluate("[scrollY, document.activeElement.getBoundingClientRect().top]")
    assert now == position
