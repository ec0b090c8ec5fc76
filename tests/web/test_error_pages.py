"""The error pages of browsers: in the admin's design, with what to do."""

import pytest
from django.conf import settings
from django.test import Client, RequestFactory

from tests.factories import UserFactory
from web import errors

pytestmark = pytest.mark.django_db
HTML = {"accept": "text/html"}


def log_in(*groups, **options):
    client = Client(headers=HTML, **options)
    client.force_login(UserFactory(groups=groups))
    return client


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/nowhere", 404, "This page does not exist."),
        ("/admin/runs/run/nonsense/change/", 404, "or what it showed was removed"),
        ("/admin/runs/run/freeze/", 403, "You do not have permission to do this."),
        ("/admin/auth/user/", 403, "It needs another role."),
    ],
)
def test_an_error_of_a_person_has_the_admins_navigation(address, status, text):
    response = log_in("viewer").get(address)
    page = response.content.decode()
    assert (response.status_code, text in page) == (status, True)
    for part in ('id="nav-sidebar"', "/admin/runs/run/", '<main class="', "oro-card"):
        assert (part, part in page) == (part, True)


def test_an_error_of_a_visitor_has_our_style_and_a_way_on():
    page = Client(headers=HTML).get("/nowhere").content.decode()
    for part in ("oroboros/page", '<main class="card">', 'href="/"', '<html lang="en">'):
        assert (part, part in page) == (part, True)


def test_a_form_of_another_session_is_refused_with_a_link_to_the_form():
    client = log_in("operator", enforce_csrf_checks=True)
    response = client.post("/admin/runs/run/freeze/?a=1", {"reason": "a demo"})
    page = response.content.decode()
    assert response.status_code == 403
    for part in ("it belongs to another session", 'href="/admin/runs/run/freeze/?a=1"'):
        assert (part, part in page) == (part, True)
    program = client.post("/admin/runs/run/freeze/", headers={"accept": "application/json"})
    assert (program.status_code, program.json()["error"]) == (403, "forbidden")
    assert settings.CSRF_FAILURE_VIEW == "web.errors.csrf_failure"


def test_the_page_of_a_bug_needs_neither_a_template_nor_the_database():
    response = errors.server_error(RequestFactory().get("/", headers=HTML))
    assert (response.status_code, b"<h1>Error 500</h1>" in response.content) == (500, True)
