"""The API of deliveries, pull requests and the outbox."""

import pytest

from tests.factories import DeliveryFactory, OutgoingMessageFactory
from tests.runs.conftest import ci, operator

__all__ = ["ci", "operator"]
pytestmark = pytest.mark.django_db


def test_deliveries_have_their_decision_and_no_body(ci):
    message = OutgoingMessageFactory()
    delivery = DeliveryFactory(pull_request=message.pull_request)
    [found] = ci.get("/api/deliveries").json()["results"]
    assert (found["decision"], found["reason"]) == ("acted", "A run of 0123456789ab is started.")
    assert found["pull_request"] == message.pull_request.number
    assert "body" not in found
    assert ci.get(f"/api/deliveries/{delivery.delivery_id}").json() == found
    assert ci.get("/api/deliveries/none").status_code == 404


def test_pull_requests_and_the_outbox_are_listed(ci):
    message = OutgoingMessageFactory()
    [pull] = ci.get("/api/pull-requests").json()["results"]
    assert (pull["number"], pull["labels"]) == (message.pull_request.number, ["preview"])
    [found] = ci.get("/api/outbox").json()["results"]
    assert (found["state"], found["text"], found["pull_request"]) == (
        "waiting",
        "x",
        pull["number"],
    )


def test_only_an_operator_redelivers(ci, operator):
    delivery = DeliveryFactory(decision="failed")
    address = f"/api/deliveries/{delivery.delivery_id}/redeliver"
    assert ci.post(address).status_code == 403
    assert operator.post(address).json()["decision"] == "queued"
    again = operator.post(address)
    assert (again.status_code, again.json()["error"]) == (409, "already_queued")
