"""The admin's pages of deliveries and pull requests, and their actions."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from forges.models import Delivery, PullRequest
from oroboros.navigation import build_navigation
from tests.factories import (
    DeliveryFactory,
    OutgoingMessageFactory,
    PullRequestFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


def log_in(group):
    client = Client()
    client.force_login(UserFactory(groups=[group]))
    return client


def url(model, name, row):
    return reverse(f"admin:forges_{model}_{name}", args=[row.pk])


def test_a_delivery_shows_its_reason_and_body_without_a_secret():
    delivery = DeliveryFactory(body=b'{"action": "opened", "secret": "hush-hush"}')
    page = log_in("viewer").get(url("delivery", "change", delivery)).content.decode()
    assert "A run of 0123456789ab is started." in page
    assert "opened" in page
    assert "hush-hush" not in page


def test_only_an_operator_delivers_again():
    delivery = DeliveryFactory(decision="failed")
    address = url("delivery", "deliver-again", delivery)
    assert log_in("approver").post(address).status_code == 403
    assert log_in("operator").post(address).status_code == 302
    delivery.refresh_from_db()
    assert (delivery.decision, delivery.is_repeated) == ("queued", True)
    assert log_in("operator").post(address).status_code == 409


def test_only_an_operator_allows_a_commit_and_only_the_one_that_was_shown():
    row = PullRequestFactory(is_fork=True, effect="hold")
    address = url("pullrequest", "allow", row)
    assert log_in("approver").post(address, {"head_sha": row.head_sha}).status_code == 403
    operator = log_in("operator")
    form = operator.get(url("pullrequest", "change", row)).content.decode()
    assert f"head_sha={row.head_sha}" in form
    shown = row.head_sha
    PullRequest.objects.update(head_sha="f" * 40)
    assert operator.post(address, {"head_sha": shown}).status_code == 409
    assert operator.post(address, {"head_sha": "f" * 40}).status_code == 302
    row.refresh_from_db()
    assert (row.allowed_sha, row.is_due) == ("f" * 40, True)
    assert row.allowed_by.startswith("user")


def test_a_dangerous_address_of_a_pull_request_is_no_link():
    row = PullRequestFactory(url="javascript:alert(1)")
    page = log_in("viewer").get(url("pullrequest", "change", row)).content.decode()
    assert "javascript:alert" not in page


def test_the_sidebar_has_the_forge_only_where_one_is_set(rf, world):
    request = rf.get("/admin/")
    request.user = UserFactory(groups=["viewer"])
    assert "Forge" in [group["title"] for group in build_navigation(request)]
    world.configure(FORGE="")
    assert "Forge" not in [group["title"] for group in build_navigation(request)]


def test_no_list_loads_the_bodies(django_assert_max_num_queries):
    DeliveryFactory.create_batch(5)
    client = log_in("viewer")
    with django_assert_max_num_queries(12):
        assert client.get(reverse("admin:forges_delivery_changelist")).status_code == 200
    assert Delivery.objects.count() == 5


def test_only_an_operator_sends_a_message_again():
    message = OutgoingMessageFactory(given_up_at=timezone.now(), error="422", failures=3)
    address = url("outgoingmessage", "send-again", message)
    page = log_in("viewer").get(url("outgoingmessage", "change", message)).content.decode()
    assert "Given up" in page
    assert log_in("approver").post(address).status_code == 403
    assert log_in("operator").post(address).status_code == 302
    message.refresh_from_db()
    assert (message.state, message.failures) == ("waiting", 0)
