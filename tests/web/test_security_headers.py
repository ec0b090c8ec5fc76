"""The Content-Security-Policy of every answer, and that no answer is stored."""

import pytest
from django.test import Client

pytestmark = pytest.mark.urls("tests.web.views")


def test_every_response_has_a_content_security_policy():
    for address in ("/api/echo", "/nowhere"):
        policy = Client().get(address)["Content-Security-Policy"]
        directives = dict(part.split(" ", 1) for part in policy.split("; "))
        assert directives["frame-ancestors"] == "'none'"
        assert directives["default-src"] == "'self'"
        assert directives["script-src"] == "'self'"


def test_every_answer_refuses_devices_and_windows_of_other_origins():
    for address in ("/api/echo", "/nowhere"):
        answer = Client().get(address)
        assert {"camera=()", "microphone=()"} <= set(answer["Permissions-Policy"].split(", "))
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"


def test_no_answer_is_stored():
    for address in ("/api/echo", "/nowhere"):
        assert Client().get(address)["Cache-Control"] == "no-store"
