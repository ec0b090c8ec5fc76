"""The keys of the admin's pages, and the tab that tells a run's state."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from runs.rules import Status
from tests.factories import LeaseFactory, RunFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_keys_move_along_rows_search_explain_and_open_the_approval(open_admin):
    for number in (1, 2):
        RunFactory(title=f"run {number}", status=Status.MERGED)
    ready = LeaseFactory(
        held=True, slot__number=1, run__status=Status.PREVIEW_READY, run__title="Reactions"
    ).run
    page = open_admin()
    page.goto(reverse("admin:runs_run_changelist"))
    titles = page.locator("#result_list tbody tr").all_inner_texts()
    for key, row in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        assert page.locator(":focus").inner_text() in titles[row]
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("Next row")
    page.keyboard.press("j")  # of the dialog, not of the list
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "searchbar"
    page.keyboard.press("a")  # typed
    assert page.locator("#searchbar").input_value() == "a"
    address = reverse("admin:runs_run_change", args=[ready.pk])
    page.goto(address)
    expect(page).to_have_title("Preview Ready · Reactions | Oroboros")
    assert "icon-success" in page.locator("link[rel=icon]").get_attribute("href")
    page.keyboard.press("a")
    page.wait_for_url("**/approve/**")
    page.goto(address)
    page.keyboard.press("r")
    page.wait_for_url("**/reject/")
