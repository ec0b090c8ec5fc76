"""A protected preview in a real browser."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tests.factories import ShareLinkFactory, UserFactory
from tests.runs.admin.browser import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def open_page(chromium):
    """Return a function that opens a page in a browser of its own."""
    contexts = []

    def build():
        contexts.append(chromium.new_context())
        return contexts[-1].new_page()

    yield build
    for context in contexts:
        context.close()


def make_viewer():
    viewer = UserFactory(username="vera", groups=["viewer"])
    viewer.set_password(PASSWORD)
    viewer.save()


def test_a_stranger_logs_in_and_a_share_link_needs_no_account(protected, open_page):
    make_viewer()
    page = open_page()
    page.goto(f"{protected.url}/page?x=1")
    assert page.url.startswith(f"http://api.localhost:{protected.port}/admin/login/")
    assert protected.backend.requests == []
    page.fill("[name=username]", "vera")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{protected.url}/page?x=1")
    expect(page.locator("body")).to_contain_text('"path": "/page?x=1"')
    # A script of the preview reaches its own backend, and none of our cookies.
    sent = page.evaluate("fetch('/api/x', {method: 'POST', body: 'b'}).then(r => r.json())")
    assert (sent["method"], sent["body"]) == ("POST", "b")
    assert "oroboros" not in page.evaluate("document.cookie")
    for one in protected.backend.requests:
        assert "oroboros_" not in str(one) and "x-oroboros-" not in str(one)
    User.objects.update(is_active=False)
    assert page.evaluate("fetch('/api/x').then(r => r.status)") == 401

    link = ShareLinkFactory(run=protected.run, secret="a-secret-of-this-test")
    guest = open_page()
    guest.goto(f"{protected.url}/page?oroboros_share=a-secret-of-this-test")
    assert guest.url == f"{protected.url}/page"
    expect(guest.locator("body")).to_contain_text('"path": "/page"')
    link.revoke(by="ann")
    guest.goto(f"{protected.url}/page?oroboros_share=a-secret-of-this-test")
    expect(guest.get_by_role("heading")).to_have_text("No access to this preview")
