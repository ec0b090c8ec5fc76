"""Invalid input to the slot endpoints is refused with a code and writes nothing."""

import uuid

import pytest

from slots.models import Lease
from tests.runs.api.test_slots import (
    ACQUIRE,
    HEARTBEAT,
    REAP,
    RELEASE,
    acquire,
    assert_refused,
    create_reservation,
)

BAD_IDS = [
    "Slot-1",
    "preview-1/..",
    "-rf",
    "preview-1\n",
    "preview\0-1",
    "preview-1@evil.service",
    "admin",
    "PREVIEW-1",
    "preview-01",
]
BAD_RUN_IDS = [
    "",
    "{7f1e0c8e-2c0e-4b0a-9d55-0a3c1d2e3f40}",
    "7F1E0C8E2C0E4B0A9D550A3C1D2E3F40",
    "7f1e0c8e2c0e4b0a9d550a3c1d2e3f40",
    "7f1e0c8e-2c0e-4b0a-9d55-0a3c1d2e3f40' OR '1'='1",
    "7f1e0c8e-2c0e-4b0a-9d55-0a3c1d2e3f40\n",
]
DEEP = b"[" * 100_000
BAD_BODIES = {
    b"null": (400, "json_not_object"),
    b"[]": (400, "json_not_object"),
    b'{"run_id": "a", "run_id": "b"}': (400, "json_duplicate_key"),
    b'{"run_id": "a\\u0000b"}': (400, "json_text_invalid"),
    b'{"run_id": "\\ud800"}': (400, "json_text_invalid"),
    b'{"run_id"': (400, "json_invalid"),
    b'{"run_id": 5}': (400, "invalid_input"),
    b"{}": (400, "invalid_input"),
}
BAD_TTLS = ['"60"', "1e309", "1.5", "true", "0", "-1", "999999999", "null", "NaN"]


@pytest.mark.parametrize("verb", ["heartbeat", "release"])
@pytest.mark.parametrize("slot_id", BAD_IDS)
def test_a_slot_id_that_is_not_configured_is_refused(slots, operator, slot_id, verb):
    answer = operator.post(f"/api/slots/{_quoted(slot_id)}/{verb}", run_id=str(uuid.uuid4()))
    assert answer.status_code in (400, 404), answer.content
    assert answer.json()["error"] in ("slot_id_invalid", "not_found")


def _quoted(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


def test_an_unconfigured_slot_returns_404(slots, operator):
    answer = operator.post("/api/slots/preview-8/release", run_id=str(uuid.uuid4()))
    assert_refused(answer, 404, "slot_unknown")


def test_a_slot_id_in_its_units_spelling_is_accepted(slots, ci):
    run = create_reservation(ci)
    acquire(ci, run)
    answer = ci.post("/api/slots/preview1/heartbeat", run_id=str(run.pk))
    assert answer.json()["slot_id"] == "preview-1"


@pytest.mark.parametrize("path", [ACQUIRE, HEARTBEAT, RELEASE])
@pytest.mark.parametrize("run_id", BAD_RUN_IDS)
def test_another_spelling_of_a_run_id_returns_400(slots, operator, path, run_id):
    answer = operator.post(path, run_id=run_id)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("run_id_invalid", "invalid_input")


@pytest.mark.parametrize("path", [ACQUIRE, HEARTBEAT, RELEASE])
def test_an_unknown_run_id_returns_404(slots, operator, path):
    assert_refused(operator.post(path, run_id=str(uuid.uuid4())), 404, "run_unknown")


@pytest.mark.parametrize("path", [ACQUIRE, HEARTBEAT, RELEASE])
@pytest.mark.parametrize("body", BAD_BODIES, ids=repr)
def test_an_invalid_body_returns_its_error_code(slots, operator, path, body):
    assert_refused(operator.raw(path, body), *BAD_BODIES[body])


@pytest.mark.parametrize("path", [ACQUIRE, HEARTBEAT, RELEASE, REAP])
def test_a_deeply_nested_or_form_body_is_refused(slots, operator, path):
    answer = operator.raw(path, DEEP[:60_000])
    assert (answer.status_code, answer.json()["error"]) == (400, "json_too_deep")
    answer = operator.raw(path, b"a=b", content_type="application/x-www-form-urlencoded")
    assert_refused(answer, 415, "unsupported_media_type")
    assert operator.raw(path, DEEP).status_code == 413


@pytest.mark.parametrize("ttl", BAD_TTLS)
def test_an_invalid_ttl_returns_400(slots, operator, ttl):
    run = create_reservation(operator)
    body = f'{{"run_id": "{run.pk}", "ttl_seconds": {ttl}}}'
    answer = operator.raw(ACQUIRE, body.encode())
    assert answer.status_code == 400, answer.content
    assert Lease.objects.count() == 0


def test_an_unknown_field_returns_400_with_a_suggestion(slots, operator):
    answer = operator.post(ACQUIRE, run_id=str(uuid.uuid4()), ttl=60)
    assert_refused(answer, 400, "unknown_field")
    assert "ttl_seconds" in answer.json()["detail"]


@pytest.mark.parametrize("fence", ["1", 0, -1, 2**63, 1.5])
def test_an_invalid_fence_returns_400(slots, operator, fence):
    run = create_reservation(operator)
    acquire(operator, run)
    answer = operator.post(RELEASE, run_id=str(run.pk), fence=fence)
    assert_refused(answer, 400, "invalid_input")


def test_an_anonymous_request_returns_401(slots, client):
    for path in (ACQUIRE, HEARTBEAT, RELEASE, REAP):
        assert client.post(path, {}, content_type="application/json").status_code == 401
    assert client.get("/api/slots").status_code == 401
