"""Targets in the admin: made, tested, changed, by whom; secrets are not shown again."""

import pytest
from django.test import Client

from accounts.models import AuditEntry
from notifications.models import Notification, Target
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
URL = "/admin/notifications/target/"
SECRET_ADDRESS = "https://hooks.example.com/T0KEN"


def log_in(*groups):
    user, client = UserFactory(groups=groups), Client()
    client.force_login(user)
    return client, user


def read(client, address):
    answer = client.get(address, follow=True)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def test_an_operator_makes_tests_and_switches_off_a_webhook(configure):
    client, user = log_in("operator")
    fields = {"name": "ci", "address": SECRET_ADDRESS, "events": ["run.ready"], "branches": "a/*"}
    answer = client.post(f"{URL}new-webhook/", fields, follow=True)
    target = Target.objects.get()
    assert (target.events, target.branches, target.created_by) == (
        ["run.ready"], ["a/*"], user.username
    )  # fmt: skip
    assert target.secret in answer.content.decode()
    client.post(f"{URL}{target.pk}/test/")
    assert Notification.objects.get().event == "test"
    pages = [URL, f"{URL}{target.pk}/change/", f"{URL}{target.pk}/edit/"]
    pages += ["/admin/notifications/notification/"]
    text = "".join(read(client, page) for page in pages)
    text += "".join(str(entry.__dict__) for entry in AuditEntry.objects.all())
    assert target.secret not in text
    assert "T0KEN" not in text
    assert "https://hooks.example.com/…" in text
    client.post(f"{URL}{target.pk}/edit/", {"events": ["run.failed"], "address": ""})
    client.post(f"{URL}{target.pk}/rotate/")
    client.post(f"{URL}{target.pk}/switch/")
    changed = Target.objects.get()
    assert (changed.events, changed.address) == (["run.failed"], SECRET_ADDRESS)
    assert changed.secret != target.secret
    assert not changed.is_enabled
    details = [entry.detail for entry in AuditEntry.objects.filter(actor=user.username)]
    for name in ("new-webhook", "test", "edit", "rotate", "switch"):
        assert any(f"target_{name}:" in one for one in details), name


def test_a_person_chooses_their_own_e_mail_and_nothing_of_others(mail):
    client, ann = log_in("viewer")
    fields = {"address": "ann@example.com", "events": ["run.ready"], "branches": ""}
    for _ in range(2):
        client.post(f"{URL}new-mail/", fields)
    target = Target.objects.get()
    assert (target.owner, target.kind) == (ann, "email")
    other, _ = log_in("viewer")
    assert "ann@example.com" not in read(other, URL)
    for action in ("test", "edit", "switch", "delete"):
        assert other.post(f"{URL}{target.pk}/{action}/", fields).status_code in (403, 404)
    assert client.post(f"{URL}new-webhook/", {}).status_code == 403
    assert client.post(f"{URL}{target.pk}/rotate/", {}).status_code == 403
    client.post(f"{URL}{target.pk}/delete/")
    assert not Target.objects.exists()


def test_a_wrong_target_is_refused_with_the_reason(configure):
    client, _ = log_in("operator")
    fields = {"name": "ci", "address": SECRET_ADDRESS, "events": ["run.ready"]}
    for wrong, text in (
        ({"address": "ftp://x"}, "A webhook&#x27;s address begins with"),
        ({"secret": "short"}, "24 to 64 bytes"),
        ({"events": ["run.unknown"]}, "Select a valid choice"),
        ({"branches": "a..\\b"}, "no pattern"),
    ):
        answer = client.post(f"{URL}new-webhook/", {**fields, **wrong})
        assert text in answer.content.decode()
    assert not Target.objects.exists()
