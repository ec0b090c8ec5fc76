"""What operators do to slots and to shipping over HTTP."""

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.models import Event, Freeze
from runs.rules import Status
from slots.models import Slot
from tests.factories import FreezeFactory, LeaseFactory, RunFactory
from tests.runs.conftest import Caller

WHY = {"reason": "the disk"}
VERBS = [
    ("/api/slots/preview-1/drain", WHY),
    ("/api/slots/preview-1/undrain", {}),
    ("/api/slots/preview-1/quarantine", WHY),
    ("/api/slots/preview-1/unquarantine", {}),
    ("/api/shipping/freeze", WHY),
    ("/api/shipping/unfreeze", WHY),
]


def refused(answer, status, code):
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.content


def approved(**fields):
    return RunFactory(status=Status.APPROVED, approved_at=timezone.now(), **fields)


def test_a_slot_is_drained_and_granted_again_to_the_next_in_line(slot, operator):
    for _ in range(2):
        told = operator.post("/api/slots/preview-1/drain", **WHY).json()
        assert (told["slot_id"], told["state"], told["reason"]) == (
            "preview-1",
            "drained",
            "the disk",
        )
    assert Event.objects.get(kind="drained").actor == "token operator"
    waiter = LeaseFactory()
    told = operator.post("/api/slots/preview-1/undrain").json()
    assert (told["state"], told["run_id"]) == ("leased", str(waiter.run_id))


def test_a_slot_is_quarantined_and_handed_out_again_once_it_is_clean(slot, operator, cleaner):
    told = operator.post("/api/slots/preview-1/quarantine", **WHY).json()
    assert (told["state"], told["reason"]) == ("quarantined", "the disk")
    cleaner.left = ["a process"]
    refused(operator.post("/api/slots/preview-1/unquarantine"), 409, "not_clean")
    assert Slot.objects.get(pk=slot.pk).quarantined_at is not None
    cleaner.left = []
    for _ in range(2):
        assert operator.post("/api/slots/preview-1/unquarantine").json()["state"] == "free"
    assert Event.objects.get(kind="unquarantined").actor == "token operator"


@pytest.mark.django_db
def test_shipping_is_frozen_and_goes_on(operator):
    run, until = approved(title="Reactions"), timezone.now() + timedelta(hours=1)
    FreezeFactory(reason="no power")
    told = operator.post("/api/shipping/freeze", **WHY, until=until.isoformat()).json()
    assert [one["reason"] for one in told["freezes"]] == ["the disk", "no power"]
    [freeze] = Freeze.objects.filter(reason="the disk")
    assert (freeze.actor, freeze.until) == ("token operator", until)
    line = [{"run_id": str(run.pk), "title": "Reactions", "status": "approved", "place": 1}]
    assert told["line"] == [{**line[0], "is_held": True}]
    assert operator.get("/api/shipping").json() == told
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
        ({**WHY, "until": "soon"}, "invalid_input"),
        ({**WHY, "until": 5}, "invalid_input"),
        ({**WHY, "until": "0001-01-01T00:00:00+14:00"}, "invalid_input"),
        ({**WHY, "until": "2020-01-01T00:00:00Z"}, "until_is_over"),
        ({**WHY, "until": "9999-12-31T23:59:59Z"}, "until_too_far"),
        ({**WHY, "untill": "2040-01-01T00:00:00Z"}, "unknown_field"),
    ],
)
def test_a_freeze_that_is_malformed_freezes_nothing(operator, body, code):
    refused(operator.post("/api/shipping/freeze", **body), 400, code)
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
def test_the_calendars_edge_is_refused_in_the_servers_own_zone(
    operator, settings, zone, until, code
):
    settings.TIME_ZONE = zone
    refused(operator.post("/api/shipping/freeze", **WHY, until=until), 400, code)
    assert not Freeze.objects.exists()


@pytest.mark.parametrize("path", ["drain", "quarantine"])
def test_a_slot_is_not_taken_out_without_a_reason(slot, operator, path):
    for body in ({}, {"reason": " "}):
        refused(operator.post(f"/api/slots/preview-1/{path}", **body), 400, "invalid_input")
    assert Slot.objects.get(pk=slot.pk).drained_at is None
    assert Slot.objects.get(pk=slot.pk).quarantined_at is None


@pytest.mark.parametrize("path", ["drain", "undrain", "quarantine", "unquarantine"])
def test_a_slot_that_is_not_there_is_refused_by_name(db, operator, path):
    body = WHY if path in ("drain", "quarantine") else {}
    refused(operator.post(f"/api/slots/preview-8/{path}", **body), 404, "slot_unknown")
    refused(operator.post(f"/api/slots/preview-1/{path}", **body), 404, "slot_unknown")
    refused(operator.post(f"/api/slots/-rf/{path}", **body), 400, "slot_id_invalid")


@pytest.mark.parametrize(("path", "body"), VERBS)
def test_each_verb_is_for_operators_alone(slots, operator, client, path, body):
    approver = Caller("approver", "view", "hold", "approve")
    refused(approver.post(path, **body), 403, "forbidden")
    assert client.post(path, body, content_type="application/json").status_code == 401
    assert not Event.objects.exists()
    assert not Freeze.objects.exists()
