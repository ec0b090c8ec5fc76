"""The strict JSON parser: what it refuses, and with which code."""

import json
from io import BytesIO

import pytest
from django.test import Client

from host.errors import Refused
from web.errors import MAX_BODY_BYTES, BodyTooLarge
from web.parsers import MAX_DEPTH, StrictJSONParser, make_printable

# The audit trail records what these requests change.
pytestmark = [pytest.mark.urls("tests.web.views"), pytest.mark.django_db]


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


def parse(body):
    return StrictJSONParser().parse(BytesIO(body))


def make_body(size):
    """Return a body of exactly `size` bytes."""
    frame = b'{"a": ""}'
    return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024])
def test_a_body_of_at_most_64_kib_is_parsed(size):
    assert len(parse(make_body(size))["a"]) == size - len(make_body(9))


@pytest.mark.parametrize("size", [64 * 1024 + 1, 64 * 1024 + 2])
def test_a_body_of_more_than_64_kib_is_too_large(size):
    with pytest.raises(BodyTooLarge):
        parse(make_body(size))


def test_no_more_than_a_byte_above_the_limit_is_read():
    body = BytesIO(make_body(10**6))
    with pytest.raises(BodyTooLarge):
        StrictJSONParser().parse(body)
    assert body.tell() == 64 * 1024 + 1


def test_a_duplicate_key_is_named_as_printable_text():
    with pytest.raises(Refused) as refused:
        parse(b'{"a\\ud800": 1, "a\\ud800": 2}')
    assert refused.value.detail == "The key a\\ud800 appears twice."
    assert refused.value.fields == {"a\\ud800": "appears twice"}


@pytest.mark.parametrize("number", [0.5, -1e308, 2**63])
def test_a_finite_number_is_parsed(number):
    assert parse(json.dumps({"a": number}).encode()) == {"a": number}


def make_nested(levels, opening, closing):
    """Return a body with that many levels: the first is the body, the last a text."""
    inner = opening * (levels - 2) + '"x"' + closing * (levels - 2)
    return f'{{"a": {inner}}}'.encode()


@pytest.mark.parametrize("kind", [("[", "]"), ('{"b": ', "}")])
def test_a_body_is_nested_16_levels_and_no_deeper(kind):
    assert MAX_DEPTH == 16
    assert parse(make_nested(15, *kind)) and parse(make_nested(16, *kind))
    for levels in (17, 18):
        with pytest.raises(Refused) as refused:
            parse(make_nested(levels, *kind))
        assert (refused.value.code, refused.value.status) == ("json_too_deep", 400)


@pytest.mark.parametrize("text", ["\t\n\r", " ", "~", "\x80", "\ud7ff", "\ue000", "\U0010ffff"])
def test_text_beside_what_cannot_be_stored_is_parsed(text):
    body = {"a": [text], text: "b"}
    assert parse(json.dumps(body).encode()) == body


@pytest.mark.parametrize("text", ["\0", "\x08", "\x0b", "\x1f", "\x7f", "\ud800", "\udfff"])
@pytest.mark.parametrize("place", ["value", "list", "key"])
def test_text_that_cannot_be_stored_is_refused_wherever_it_stands(text, place):
    body = {"value": {"a": text}, "list": {"a": [1, text]}, "key": {"a": {text: 1}}}[place]
    body["b"] = [1, {"c": "checked first"}]
    with pytest.raises(Refused) as refused:
        parse(json.dumps(body).encode())
    assert (refused.value.code, list(refused.value.fields)) == ("json_text_invalid", ["a"])


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
