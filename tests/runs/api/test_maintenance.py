"""The endpoints of operators: maintenance of slots, freezes of shipping."""

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.models import Event, Freeze
from runs.rules import Status
from slots.models import Slot
from tests.factories import FreezeFactory, LeaseFactory, RunFactory
from tests.runs.conftest import Caller

REASON = {"reason": "the disk"}
REQUESTS = [
    ("/api/slots/preview-1/drain", REASON),
    ("/api/slots/preview-1/undrain", {}),
    ("/api/slots/preview-1/quarantine", REASON),
    ("/api/slots/preview-1/unquarantine", {}),
    ("/api/shipping/freeze", REASON),
    ("/api/shipping/unfreeze", REASON),
    ("/api/shipping/push", {}),
]


def assert_refused(answer, status, code):
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.content


def create_approved_run(**fields):
    return RunFactory(status=Status.APPROVED, approved_at=timezone.now(), **fields)


def test_an_undrained_slot_is_granted_to_the_next_waiter(slot, operator):
    for _ in range(2):
        body = operator.post("/api/slots/preview-1/drain", **REASON).json()
        assert (body["slot_id"], body["state"], body["reason"]) == (
            "preview-1",
            "drained",
            "the disk",
        )
    assert Event.objects.get(kind="drained").actor == "token operator"
    waiter = LeaseFactory()
    body = operator.post("/api/slots/preview-1/undrain").json()
    assert (body["state"], body["run_id"]) == ("leased", str(waiter.run_id))


def test_a_quarantined_slot_is_granted_again_once_it_is_clean(slot, operator, cleaner):
    body = operator.post("/api/slots/preview-1/quarantine", **REASON).json()
    assert (body["state"], body["reason"]) == ("quarantined", "the disk")
    cleaner.left = ["a process"]
    assert_refused(operator.post("/api/slots/preview-1/unquarantine"), 409, "not_clean")
    assert Slot.objects.get(pk=slot.pk).quarantined_at is not None
    cleaner.left = []
    for _ in range(2):
        assert operator.post("/api/slots/preview-1/unquarantine").json()["state"] == "free"
    assert Event.objects.get(kind="unquarantined").actor == "token operator"


@pytest.mark.django_db
def test_shipping_is_frozen_and_unfrozen(operator):
    run, until = create_approved_run(title="Reactions"), timezone.now() + timedelta(hours=1)
    FreezeFactory(reason="no power")
    body = operator.post("/api/shipping/freeze", **REASON, until=until.isoformat()).json()
    assert [one["reason"] for one in body["freezes"]] == ["the disk", "no power"]
    [freeze] = Freeze.objects.filter(reason="the disk")
    assert (freeze.actor, freeze.until) == ("token operator", until)
    line = [{"run_id": str(run.pk), "title": "Reactions", "status": "approved", "place": 1}]
    assert body["line"] == [{**line[0], "is_held": True}]
    assert operator.get("/api/shipping").json() == body
    assert operator.post("/api/shipping/unfreeze", reason="over").json() == {"lifted_count": 2}
    assert operator.post("/api/shipping/unfreeze", reason="over").json() == {"lifted_count": 0}
    assert operator.get("/api/shipping").json() == {
        "freezes": [],
        "line": [{**line[0], "is_held": False}],
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_input"),
        ({"reason": "  "}, "invalid_input"),
        ({"reason": 5}, "invalid_input"),
        ({**REASON, "until": "soon"}, "invalid_input"),
        ({**REASON, "until": 5}, "invalid_input"),
        ({**REASON, "until": "0001-01-01T00:00:00+14:00"}, "invalid_input"),
        ({**REASON, "until": "2020-01-01T00:00:00Z"}, "until_is_over"),
        ({**REASON, "until": "9999-12-31T23:59:59Z"}, "until_too_far"),
        ({**REASON, "untill": "2040-01-01T00:00:00Z"}, "unknown_field"),
    ],
)
def test_a_malformed_freeze_is_refused_and_freezes_nothing(operator, body, code):
    assert_refused(operator.post("/api/shipping/freeze", **body), 400, code)
    assert not Freeze.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("zone", "until", "code"),
    [
        ("Europe/Berlin", "0001-01-01T00:00:00", "invalid_input"),
        ("Europe/Berlin", "9999-12-31T23:59:59", "until_too_far"),
        ("America/New_York", "9999-12-31T23:59:59", "invalid_input"),
        ("America/New_York", "0001-01-01T00:00:00", "until_is_over"),
    ],
)
def test_a_date_that_overflows_in_the_servers_time_zone_is_refused(
    operator, settings, zone, until, code
):
    settings.TIME_ZONE = zone
    assert_refused(operator.post("/api/shipping/freeze", **REASON, until=until), 400, code)
    assert not Freeze.objects.exists()


@pytest.mark.parametrize("path", ["drain", "quarantine"])
def test_draining_and_quarantining_need_a_reason(slot, operator, path):
    for body in ({}, {"reason": " "}):
        assert_refused(operator.post(f"/api/slots/preview-1/{path}", **body), 400, "invalid_input")
    assert Slot.objects.get(pk=slot.pk).drained_at is None
    assert Slot.objects.get(pk=slot.pk).quarantined_at is None


@pytest.mark.parametrize("path", ["drain", "undrain", "quarantine", "unquarantine"])
def test_an_unknown_slot_returns_its_error_code(db, operator, path):
    body = REASON if path in ("drain", "quarantine") else {}
    assert_refused(operator.post(f"/api/slots/preview-8/{path}", **body), 404, "slot_unknown")
    assert_refused(operator.post(f"/api/slots/preview-1/{path}", **body), 404, "slot_unknown")
    assert_refused(operator.post(f"/api/slots/-rf/{path}", **body), 400, "slot_id_invalid")


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_each_maintenance_request_needs_an_operator(slots, operator, client, path, body):
    approver = Caller("approver", "view", "hold", "approve")
    assert_refused(approver.post(path, **body), 403, "forbidden")
    assert client.post(path, body, content_type="application/json").status_code == 401
    assert not Event.objects.exists()
    assert not Freeze.objects.exists()
