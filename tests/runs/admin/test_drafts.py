"""What was typed in a form survives the end of the session."""

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import expect

from runs.models import Run
from runs.rules import Status
from tests.factories import LeaseFactory
from tests.runs.admin.browser import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
REASON = "The button is <blue>.\nIt should be green."


@pytest.fixture
def run():
    return LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run


def log_in(page):
    page.fill("[name=username]", "olga")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")


def test_text_typed_before_the_session_ended_is_there_after_the_login(open_admin, run):
    page = open_admin()
    address = reverse("admin:runs_run_reject", args=[run.pk])
    page.goto(address)
    page.get_by_label("Reason").fill(REASON)
    Session.objects.all().delete()
    page.get_by_role("button", name="Reject").click()
    expect(page.locator("#login-form")).to_be_visible()
    log_in(page)
    expect(page.get_by_label("Reason")).to_have_value(REASON)
    expect(page.get_by_text("Filled in again")).to_be_visible()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("You rejected the run.")).to_be_visible()
    assert Run.objects.get(pk=run.pk).status == Status.REJECTED
    # What was accepted is forgotten.
    page.goto(address)
    expect(page.get_by_label("Reason")).to_have_value("")
    assert page.problems == []


def test_a_form_of_another_session_leads_back_with_the_text(open_admin, run):
    page = open_admin()
    page.goto(reverse("admin:runs_run_reject", args=[run.pk]))
    page.get_by_label("Reason").fill(REASON)
    page.context.clear_cookies(name=settings.CSRF_COOKIE_NAME)
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("it belongs to another session")).to_be_visible()
    page.get_by_role("link", name="Open the form again").click()
    expect(page.get_by_label("Reason")).to_have_value(REASON)


def test_passwords_are_not_kept(open_admin):
    page = open_admin()
    page.goto(reverse("admin:password_change"))
    page.locator("[name=old_password]").fill("a-secret-that-is-typed")
    assert "a-secret-that" not in page.evaluate("JSON.stringify({...sessionStorage})")
