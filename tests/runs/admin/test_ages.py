"""How long ago something was, with the time itself on hover."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from tests.factories import LeaseFactory, RunFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_time_of_this_week_is_an_age_also_after_the_page_was_updated(open_admin):
    now = timezone.now()
    # The page is updated often while a slot is held.
    LeaseFactory(held=True, slot__number=1, run__created_at=now - timedelta(hours=2, minutes=5))
    old = RunFactory(created_at=now - timedelta(days=9))
    page = open_admin()
    times = page.locator("[data-part=recent] time")
    expect(times).to_have_text(["2 h ago", f"{old.created_at:%Y-%m-%d %H:%M} UTC"])
    title = times.first.get_attribute("title")
    assert title == f"{now - timedelta(hours=2, minutes=5):%Y-%m-%d %H:%M:%S} UTC"
    RunFactory(created_at=now - timedelta(days=3, hours=1))
    expect(times).to_have_count(3)
    expect(times.nth(0)).to_have_text("2 h ago")
    expect(times.nth(1)).to_have_text("3 days ago")
    page.goto("/admin/runs/run/")
    expect(page.locator("#result_list time").first).to_have_text("2 h ago")
    assert page.problems == []
