"""Service workers, requests of other origins and the run's page at a protected preview."""

from functools import partial

import jwt
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import expect

from host import config as configuration
from host.app.resources import user_header
from runs.models import Run
from tests.environment import free_port
from tests.runs.admin.browser import PASSWORD
from tests.runs.protection.stack import running_stack
from tests.runs.protection.test_browser import make_viewer, open_page
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import COMMIT
from tests.slots.runtime.test_browser_state import fill_browser, serve

__all__ = ["open_page"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.full,
    pytest.mark.django_db(transaction=True),
]
SEND = """([url, headers]) => fetch(url, {headers}).then(
    r => r.status, e => e.name
)"""


def log_in(page, url):
    page.goto(url)
    page.fill("[name=username]", "vera")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(url)


def test_a_service_worker_is_installed_with_access_and_none_without(open_path, open_page):
    make_viewer()
    backend = partial(serve, name="first", keeps="cache first")
    with running_stack(open_path, backend, PREVIEW_PROTECTION="protected") as stack:
        page = open_page()
        log_in(page, f"{stack.url}/page")  # which registers no worker
        fill_browser(page, stack.url)
        User.objects.update(is_active=False)
        # What the worker kept is this person's own copy; nothing new comes from the preview.
        assert page.goto(stack.url).from_service_worker
        assert page.evaluate("fetch('/new').then(r => r.status)") == 401
        update = "navigator.serviceWorker.ready.then(r => r.update()).then(() => '', e => e.name)"
        assert page.evaluate(update) == "TypeError"
        # A browser without it gets the log-in, and no worker.
        guest = open_page()
        guest.goto(stack.url)
        assert guest.url.startswith(f"http://api.localhost:{stack.port}/admin/login/")


def test_pages_of_allowed_origins_read_it_with_a_token_and_others_read_nothing(
    open_path, open_page, token
):
    port, foreign_port = free_port(), free_port()
    values = {
        "PREVIEW_PROTECTION": "protected",
        "CORS_APP_ORIGINS": f"http://127.0.0.1:{port}",
    }
    with running_stack(open_path, **values) as stack, echo(port), echo(foreign_port):
        page, url = open_page(), f"{stack.url}/api/x"
        page.goto(f"http://127.0.0.1:{port}/")
        # With the header the browser sends a preflight first, which has neither cookie nor token.
        assert page.evaluate(SEND, [url, {"X-Oroboros-Bypass": token}]) == 200
        assert page.evaluate(SEND, [url, {"X-Oroboros-Bypass": f"{token}x"}]) == 401
        assert page.evaluate(SEND, [url, {}]) == 401
        sent = stack.backend.requests
        assert [one["method"] for one in sent] == ["GET"] and token not in str(sent)
        page.goto(f"http://127.0.0.1:{foreign_port}/")
        assert page.evaluate(SEND, [url, {"X-Oroboros-Bypass": token}]) == "TypeError"
        assert len(sent) == 1


def test_with_the_setting_the_application_reads_who_looks_whatever_the_visitor_says(
    open_path, open_page
):
    make_viewer()
    values = {"PREVIEW_PROTECTION": "protected", "PREVIEW_USER_HEADER": "true"}
    with running_stack(open_path, **values) as stack:
        page = open_page()
        log_in(page, f"{stack.url}/page")
        page.evaluate("fetch('/api/x', {headers: {'X-Oroboros-User': 'olga'}})")
        key = user_header.derive_key(settings.SECRET_KEY, str(stack.run.pk))
        told = [dict(one["headers"])["x-oroboros-user"] for one in stack.backend.requests]
        assert len(told) >= 2
        for value in told:
            assert jwt.decode(value, key, ["HS256"], audience=stack.host)["sub"] == "vera"


def test_the_runs_page_checks_which_run_a_protected_link_shows(protected, open_page):
    make_viewer()
    runs = Run.objects.filter(pk=protected.run.pk)
    runs.update(status="preview_ready", commit_sha=COMMIT)
    address = f"http://api.localhost:{protected.port}/admin/runs/run/{protected.run.pk}/change/"
    page = open_page()
    # The control plane of this stack has no static files. What it sends is under the page's policy.
    page.add_init_script(path=configuration.HOME / "static/oroboros/preview-check.js")
    log_in(page, address)
    note = page.locator("[data-preview-check]")
    expect(note).to_contain_text(f"the link shows this run at {COMMIT[:12]}")
    runs.update(commit_sha="e" * 40)
    page.reload()
    expect(note).to_contain_text(f"The link shows commit {COMMIT[:12]} of this run")
    # Without access to the preview itself.
    assert protected.backend.requests == []
