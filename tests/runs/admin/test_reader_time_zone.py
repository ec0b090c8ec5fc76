"""A person sees the times of the admin's pages in the time zone of their browser."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from runs.rules import Status
from tests.factories import LeaseFactory
from tests.runs.admin.browser import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_pages_after_the_login_have_the_browsers_zone(open_admin, chromium, live_server):
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run
    open_admin()  # makes the person
    context = chromium.new_context(timezone_id="Asia/Kolkata", base_url=live_server.url)
    page = context.new_page()
    page.goto(reverse("admin:runs_run_change", args=[run.pk]))
    page.fill("[name=username]", "olga")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    # The page of the login has named the zone: the first page after it has it already.
    expect(page.locator("time").first).to_contain_text("IST")
    assert page.locator("time").filter(has_text="UTC").count() == 0
    context.close()
