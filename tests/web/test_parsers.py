"""The strict JSON parser: what it refuses, and with which code."""

import json

import pytest
from django.test import Client

from web.errors import MAX_BODY_BYTES
from web.parsers import make_printable

pytestmark = pytest.mark.urls("tests.web.views")


def post(body, content_type="application/json"):
    return Client().post("/api/echo", body, content_type=content_type)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"null", "json_not_object"),
        (b"[]", "json_not_object"),
        (b'"x"', "json_not_object"),
        (b"{", "json_invalid"),
        (b"\xff\xfe", "json_invalid"),
        (b'{"ttl_seconds": ' + b"9" * 5000 + b"}", "json_invalid"),
        (b'{"ttl_seconds": 1e309}', "json_number_invalid"),
        (b'{"ttl_seconds": NaN}', "json_number_invalid"),
        (b'{"ttl_seconds": -Infinity}', "json_number_invalid"),
        (b'{"owner": "a", "owner": "b"}', "json_duplicate_key"),
        (b'{"owner": "a\\u0000b"}', "json_text_invalid"),
        (b'{"owner": "a\\u007fb"}', "json_text_invalid"),
        (b'{"owner": "\\ud800"}', "json_text_invalid"),
        (b'{"\\ud800": 1}', "json_text_invalid"),
        (b'{"\\ud800": 1, "\\ud800": 1}', "json_duplicate_key"),
        (b"[" * 30_000, "json_too_deep"),
        (b'{"owner": ' + b"[" * 40 + b"]" * 40 + b"}", "json_too_deep"),
    ],
)
def test_an_invalid_body_returns_400_with_a_code(body, code):
    response = post(body)
    assert (response.status_code, response.json()["error"]) == (400, code)
    assert response.json()["detail"]


def test_a_body_larger_than_64_kib_returns_413():
    response = post(b'{"reason": "' + b"a" * MAX_BODY_BYTES + b'"}')
    assert (response.status_code, response.json()["error"]) == (413, "body_too_large")


def test_a_form_body_returns_415():
    response = post("owner=a", "application/x-www-form-urlencoded")
    assert (response.status_code, response.json()["error"]) == (415, "unsupported_media_type")


def test_a_valid_body_is_parsed_unchanged():
    body = {"ttl_seconds": 60, "owner": "zoë", "reason": "two\nlines", "force": True}
    assert post(json.dumps(body)).json() == body


def test_a_request_without_a_body_is_an_empty_object():
    assert Client().generic("POST", "/api/echo").json() == {}


def test_a_key_is_made_printable():
    assert make_printable("a\ud800") == "a\\ud800"
    assert len(make_printable("a" * 100)) == 64
