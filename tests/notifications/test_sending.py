"""Notifications to real receivers: signed, retried, given up, and never to the control plane."""

import json
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from django.db.models import F
from standardwebhooks import Webhook

from core.clock import get_database_time
from host.masking.known_secrets import read_masks
from host.masking.masks import MASK
from notifications import sending, targets
from notifications.channels.answer import DeliveryAnswer
from notifications.models import Notification, Target
from tests.factories import EventFactory, RunFactory, UserFactory
from tests.notifications.receivers import receiving, receiving_mail

pytestmark = pytest.mark.django_db


def happen(kind="merged", status="merged", **fields):
    """Add an event of a run to the timeline."""
    run = RunFactory(status=status, **fields)
    return EventFactory(run=run, kind=kind, text=f"{kind} it is", at=get_database_time())


def let_time_pass():
    """Have what waits be due now."""
    Notification.objects.update(due_at=F("wanted_at"))


class Killed(BaseException):
    """The process ends here."""


def test_a_webhook_gets_what_happened_signed_and_once(add, notify, receiver, monkeypatch):
    target = add("webhook", receiver.url)
    event = happen(branch="feature/x")
    with monkeypatch.context() as patched:
        patched.setattr(Notification, "record_delivery", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):  # after the request, before the record
            notify()
    [sent] = notify()
    notify()
    assert (sent.state, sent.answer) == ("sent", "204 No Content")
    # The receiver knows the second attempt by its id; there is no third.
    (_, first, body), (_, second, _) = receiver.requests
    assert first["webhook-id"] == second["webhook-id"]
    found = Webhook(target.secret).verify(body, first)
    assert found["type"] == "run.shipped"
    assert found["data"]["run_id"] == str(event.run.pk)
    assert found["data"]["text"] == "merged it is"
    assert f"runs/run/{event.run.pk}" in found["data"]["url"]


def test_a_receiver_that_fails_is_tried_later_and_given_up_after_a_day(add, notify, receiver):
    add("webhook", receiver.url)
    receiver.answers = [(500, {}), (503, {"Retry-After": "3000"}), (500, {})]
    happen(), happen()
    first, second = notify()
    assert (first.state, first.failures) == ("waiting", 1)
    assert first.error == "500 Internal Server Error"
    assert len(receiver.requests) == 1, "the others wait for the one that failed"
    assert second.due_at >= first.due_at
    let_time_pass()
    first, _ = notify()
    assert first.due_at > get_database_time() + timedelta(seconds=2900)
    Notification.objects.filter(pk=first.pk).update(wanted_at=F("wanted_at") - timedelta(hours=25))
    let_time_pass()
    first, second = notify()
    assert (first.state, first.error) == ("given up", "500 Internal Server Error")
    assert second.state == "sent"
    assert Notification.objects.send_again(first.pk)
    assert notify()[0].state == "sent"


@pytest.mark.parametrize("rotated", [False, True])
def test_a_receiver_that_repeats_its_secrets_shows_them_to_nobody(
    add, notify, receiver, settings, rotated
):
    token = "T024BE91L-xoxb-9f31c07e5a6d"
    target = add("webhook", f"{receiver.url}/{token}")
    secret = targets.rotate_secret(target) if rotated else target.secret
    receiver.answers = [(500, {}, f"no {secret}"), (200, {}, f"yes {secret[6:]} {token}")]
    happen()
    [failed] = notify()
    assert failed.error == failed.answer == f"500 Internal Server Error: no {MASK}"
    let_time_pass()
    [sent] = notify()
    assert sent.answer == f"200 OK: yes {MASK} {MASK}"
    text = f"Is {receiver.url}/{token} with {target.secret} still right?"
    assert read_masks(settings.OROBOROS).mask(text) == f"Is {MASK} with {MASK} still right?"


def test_a_mail_server_that_repeats_its_password_shows_it_to_nobody(
    add, notify, mail, configure, tmp_path
):
    (tmp_path / "password").write_text("correct horse\n")
    configure(NOTIFICATION_SMTP_PASSWORD_FILE=str(tmp_path / "password"))
    add("email", "ann@example.com", owner=UserFactory(groups=["viewer"]))
    mail.refusal = "550 not with correct horse"
    happen()
    [refused] = notify()
    assert refused.error == refused.answer == f"550 not with {MASK}"


def test_the_mail_server_gets_the_password_of_the_file_and_a_wrong_one_waits(
    add, notify, mail, configure, tmp_path
):
    path = tmp_path / "password"
    path.write_text("wrong horse\n")
    with receiving_mail({"oroboros": "correct horse"}) as (box, port):
        configure(
            NOTIFICATION_SMTP_PORT=str(port),
            NOTIFICATION_SMTP_USER="oroboros",
            NOTIFICATION_SMTP_PASSWORD_FILE=str(path),
        )
        add("email", "ann@example.com", owner=UserFactory(groups=["viewer"]))
        happen()
        [refused] = notify()
        assert (refused.state, refused.error[:3], box.mails) == ("waiting", "535", [])
        path.write_text("correct horse\n")
        let_time_pass()
        [sent] = notify()
    assert (sent.state, len(box.mails)) == ("sent", 1)


def test_no_notification_reaches_the_control_plane(add, notify, receiver, configure, settings):
    with receiving() as control_plane:
        settings.OROBOROS = replace(settings.OROBOROS, api_port=control_plane.port)
        location = {"Location": control_plane.url}
        receiver.answers = [(302, location), (307, location)]
        add("webhook", receiver.url, name="redirected")
        add("service", receiver.url.replace("http", "json"), name="a service that is redirected")
        add("webhook", control_plane.url, name="direct")
        happen()
        found = {one.target.name: one for one in notify()}
        assert control_plane.requests == []
    assert len(receiver.requests) == 2
    assert {one.state for one in found.values()} == {"given up"}
    assert "Redirects are not followed" in found["redirected"].error
    assert found["direct"].error.endswith("is the control plane.")
    assert found["a service that is redirected"].error.endswith("is the control plane.")


def test_a_private_address_is_refused_where_no_setting_allows_it(add, notify, receiver, configure):
    add("webhook", f"http://localhost:{receiver.port}/")
    configure(NOTIFICATION_NETWORKS="10.0.0.0/8")
    happen()
    [one] = notify()
    assert (one.state, receiver.requests) == ("given up", [])
    assert "is not a public address" in one.error


def test_a_chat_service_gets_it_by_apprise(add, notify, receiver):
    add("service", receiver.url.replace("http", "json"))
    happen(title="Reactions")
    [one] = notify()
    assert (one.state, one.answer) == ("sent", "The service has taken it.")
    [(_, _, body)] = receiver.requests
    assert json.loads(body)["title"] == "A run is shipped: Reactions"


def test_a_person_gets_the_e_mail_that_they_chose(add, notify, mail):
    ann = UserFactory(groups=["viewer"])
    add("email", "ann@example.com", owner=ann, events=["run.shipped"])
    happen(title="Reactions\r\nBcc: eve@example.com")
    happen("failed", "failed")
    mail.refusal = "451 come back later"
    [one] = notify()
    assert (one.state, one.error) == ("waiting", "451 come back later")
    mail.refusal = ""
    let_time_pass()
    assert notify()[0].state == "sent"
    [envelope] = mail.mails
    assert envelope.rcpt_tos == ["ann@example.com"]
    message = message_from_bytes(envelope.content, policy=policy.default)
    assert message["subject"] == "A run is shipped: Reactions Bcc: eve@example.com"
    assert message["bcc"] is None
    assert "merged it is" in message.get_content()
    ann.groups.clear()
    happen()
    assert len(notify()) == 1, "who may see nothing any more is told nothing"


def test_a_receiver_that_answers_410_is_told_nothing_any_more(add, notify, receiver):
    target = add("webhook", receiver.url)
    receiver.answers = [(410, {})]
    happen()
    assert notify()[0].state == "given up"
    target.refresh_from_db()
    assert not target.is_enabled
    assert "410 Gone" in target.disabled_reason
    happen()
    assert len(notify()) == 1
    targets.enable_target(target)
    assert len(notify()) == 1, "nor of what happened meanwhile"


def test_what_cannot_be_sent_neither_raises_nor_holds_up_the_others(
    add, notify, receiver, configure, monkeypatch
):
    ann = UserFactory(groups=["viewer"])
    add("email", "ann@example.com", owner=ann)  # there is no mail server
    add("webhook", receiver.url)
    happen()
    unsent, sent = notify()
    assert "NOTIFICATION_SMTP_HOST" in unsent.error
    assert sent.state == "sent"
    monkeypatch.setattr(sending, "PROGRAM", "notifications.no_such_program")
    assert sending.run_program({}) == DeliveryAnswer(
        "Sending it failed; this is a fault of Oroboros."
    )
    assert Target.objects.filter(is_enabled=True).count() == 2
