"""The pages of the sign-in in a real browser: passkeys, both colour schemes, widths, axe."""

import os
from dataclasses import replace

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tests.chromium import NARROW, WIDE
from tests.runs.admin.browser import PASSWORD, chromium, open_admin
from tests.runs.admin.test_accessibility import list_violations

__all__ = ["chromium", "open_admin"]
pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.django_db(transaction=True)]
PAGES = (
    "/admin/account/",
    "/admin/account/app/add/",
    "/admin/account/keys/add/",
    "/admin/account/keys/",
    "/admin/account/codes/",
    "/admin/account/codes/new/",
    "/admin/account/confirm/",
    "/admin/account/confirm/code/",
    "/admin/usersessions/usersession/",
)


def take_picture(page, name):
    """Write a screenshot to the folder that SCREENSHOTS names, for a person to look at."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def add_authenticator(page):
    """Give the page's browser a passkey device that confirms everything."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_passkey_is_added_and_asked_for_at_the_next_log_in(open_admin):
    page = open_admin()
    add_authenticator(page)
    page.goto("/admin/account/")
    page.get_by_role("link", name="Add a passkey").click()
    page.locator("#mfa_webauthn_add").click()
    expect(page.get_by_label("Unused codes")).to_be_visible()
    page.goto("/admin/account/keys/")
    expect(page.get_by_text("Master key")).to_be_visible()
    page.context.clear_cookies()
    page.goto("/admin/runs/run/")
    page.fill("[name=username]", "olga")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/account/factor/")
    page.locator("#mfa_webauthn_authenticate").click()
    page.wait_for_url("**/admin/runs/run/")
    assert page.problems == []


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")]
)
def test_no_page_of_the_sign_in_has_a_violation_or_an_error(
    open_admin, provider, settings, viewport, scheme
):
    page = open_admin(viewport, scheme)
    olga = User.objects.get(username="olga")
    label = f"{scheme}-{viewport['width']}"
    found = []
    for number, address in enumerate(PAGES):
        if address == "/admin/account/codes/":
            totp.TOTP.activate(olga, totp.generate_totp_secret())
            RecoveryCodes.activate(olga)
        found += list_violations(page, address)
        take_picture(page, f"{label}-{number}{address.replace('/', '-')}")
    overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    page.goto("/admin/account/")
    assert not page.evaluate(overflow)
    page.context.clear_cookies()
    found += list_violations(page, "/admin/login/?next=/admin/runs/run/")
    take_picture(page, f"{label}-login")
    page.fill("[name=username]", "olga")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/account/factor/")
    found += list_violations(page, "/admin/account/factor/")
    take_picture(page, f"{label}-factor")
    settings.SIGN_IN = replace(settings.SIGN_IN, has_passwords=False)
    found += list_violations(page, "/admin/login/")
    take_picture(page, f"{label}-login-without-passwords")
    assert (found, page.problems) == ([], [])


def test_a_person_goes_through_the_provider_and_comes_back(open_admin, provider, live_server):
    provider.set_person("rita", ["staff"])
    page = open_admin()
    page.context.clear_cookies()
    page.goto("/admin/runs/run/")
    page.get_by_role("button", name="Log in with Example SSO").click()
    page.wait_for_url(f"{provider.url}/**")
    page.fill("[name=sub]", "rita")
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url("**/admin/runs/run/")
    assert User.objects.filter(username="rita").exists()
    provider.set_person("eve", [])
    page.context.clear_cookies()
    page.goto("/admin/")
    page.get_by_role("button", name="Log in with Example SSO").click()
    page.fill("[name=sub]", "eve")
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_text("in none of the groups")).to_be_visible()
    take_picture(page, "refused")
