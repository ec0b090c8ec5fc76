"""Errors: one JSON object for programs, a page for browsers, nothing internal for either."""

import pytest
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework import exceptions

from host.errors import Refused
from tests.web.views import RaisingView
from web import errors

# The audit trail records what these requests are refused.
pytestmark = [pytest.mark.urls("tests.web.views"), pytest.mark.django_db]


def test_an_unsupported_method_returns_405_and_an_unknown_address_404():
    wrong, unknown = Client().get("/api/echo"), Client().get("/api/nowhere")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "method_not_allowed")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "not_found")


def test_an_unknown_address_returns_a_page_to_a_browser():
    response = Client().get("/nowhere", headers={"accept": "text/html"})
    assert response.status_code == 404
    assert b"<h1>This page does not exist.</h1>" in response.content


@pytest.mark.parametrize(
    ("exception", "status", "code"),
    [
        (Refused("rule_name", "Not now."), 409, "rule_name"),
        (Http404("secret"), 404, "not_found"),
        (exceptions.Throttled(wait=3), 429, "too_many_requests"),
        (exceptions.ValidationError({"a": [{"b": ["bad"]}]}), 400, "invalid_input"),
    ],
)
def test_every_exception_of_a_view_returns_the_same_error_object(
    monkeypatch, exception, status, code
):
    monkeypatch.setattr(RaisingView, "exception", exception)
    response = Client().get("/api/raises")
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert set(response.json()) <= {"error", "detail", "fields"}
    assert "secret" not in response.json()["detail"]


def test_a_bug_returns_500_without_its_traceback(monkeypatch):
    monkeypatch.setattr(RaisingView, "exception", ZeroDivisionError("secret"))
    response = Client(raise_request_exception=False).get("/api/raises")
    assert (response.status_code, response.json()["error"]) == (500, "internal_error")
    assert b"secret" not in response.content


def test_a_foreign_host_header_returns_400():
    response = Client().get("/api/echo", headers={"host": "a.example, b.example"})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_input")


def test_nested_field_errors_have_dotted_names():
    exc = exceptions.ValidationError({"a": [{"b": ["bad"]}], "non_field_errors": ["both"]})
    request = RequestFactory().get("/")
    body = errors.exception_handler(exc, {"request": request}).data
    assert body["fields"] == {"a.b": "bad", "": "both"}
