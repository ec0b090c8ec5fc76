"""The strict base of request bodies and its fields: nothing is converted or ignored."""

import json

import pytest
from django.test import Client

# The audit trail records what these requests change.
pytestmark = [pytest.mark.urls("tests.web.views"), pytest.mark.django_db]


def post(body):
    return Client().post("/api/echo", body, content_type="application/json")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"ttl": 60}', "unknown_field"),
        (b'{"": 60}', "unknown_field"),
        (b'{"ttl_seconds": "60"}', "invalid_input"),
        (b'{"ttl_seconds": true}', "invalid_input"),
        (b'{"ttl_seconds": 60.5}', "invalid_input"),
        (b'{"ttl_seconds": 101}', "invalid_input"),
        (b'{"owner": 5}', "invalid_input"),
        (b'{"owner": null}', "invalid_input"),
        (b'{"owner": "two\\nlines"}', "invalid_input"),
        (b'{"owner": "longer than ten"}', "invalid_input"),
        (b'{"force": "true"}', "invalid_input"),
        (b'{"force": 1}', "invalid_input"),
        (b'{"until": "soon"}', "invalid_input"),
        (b'{"until": "0001-01-01T00:00:00+14:00"}', "invalid_input"),
    ],
)
def test_an_invalid_field_returns_400_with_a_code(body, code):
    response = post(body)
    assert (response.status_code, response.json()["error"]) == (400, code)
    assert response.json()["detail"]


def test_an_unknown_field_returns_a_suggestion():
    body = post(b'{"ttl": 60}').json()
    assert body["fields"] == {"ttl": "unknown field (did you mean ttl_seconds?)"}


def test_an_unknown_field_without_a_similar_one_returns_the_known_fields():
    body = post(b'{"xyz": 60}').json()
    known = "ttl_seconds, owner, reason, force, until"
    assert body["fields"] == {"xyz": f"unknown field; known fields: {known}."}


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 12), ("America/New_York", 12)])
def test_a_date_without_an_offset_is_in_the_servers_time_zone(settings, zone, hour):
    settings.TIME_ZONE = zone
    until = post(b'{"until": "2026-01-01T12:00:00"}').json()["until"]
    assert until.startswith(f"2026-01-01T{hour}:00:00")
    assert until.endswith("Z" if zone == "UTC" else "-05:00")


@pytest.mark.parametrize(
    ("zone", "text"),
    [("America/New_York", "9999-12-31T23:59:59"), ("Europe/Berlin", "0001-01-01T00:00:00")],
)
def test_a_date_that_overflows_in_utc_returns_400(settings, zone, text):
    settings.TIME_ZONE = zone
    response = post(f'{{"until": "{text}"}}')
    assert (response.status_code, response.json()["error"]) == (400, "invalid_input")


def test_thousands_of_unknown_fields_have_a_short_answer():
    answer = post(json.dumps({f"x{number}": 1 for number in range(4000)}))
    assert (answer.status_code, len(answer.json()["fields"])) == (400, 5)
    assert "3995 more fields" in answer.json()["detail"]
    assert len(answer.content) < 2000


@pytest.mark.parametrize("value", [1, "\u0007", {"a": "\u0007"}])
def test_a_long_name_has_a_short_answer(value):
    answer = post(json.dumps({"x" * 50_000: value}))
    assert answer.status_code == 400
    assert len(answer.content) < 1000


def test_a_refused_body_leaves_nothing_to_the_next_one():
    refused = post(b'{"ttl_seconds": 60, "owner": "ann", "force": 1}')
    assert refused.status_code == 400
    assert post(b"{}").json() == post(b"{}").json()
    assert "ann" not in post(b"{}").content.decode()
    assert post(b'{"owner": 5}').json()["fields"].keys() == {"owner"}
