"""A Chromium, and people who are logged in to the admin in it."""

import os

import pytest
from playwright.sync_api import expect, sync_playwright

from runs.admin.run_page import IDENTITY_PATH
from tests.chromium import WIDE, launch_chromium
from tests.factories import UserFactory

# Playwright runs an event loop in this thread, in which Django refuses database queries.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

PASSWORD = "only-for-this-test-in-a-browser"
# An idle page is reloaded every 4 s, and a busy host takes its time.
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
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
        context.set_default_timeout(TIMEOUT_MS)
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
