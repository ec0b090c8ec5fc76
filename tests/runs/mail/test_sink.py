"""The mail sink: what a slot's processes send is kept with the run; others cannot deliver."""

import asyncio
import os
import smtplib
import threading
from contextlib import contextmanager
from dataclasses import replace
from email.message import EmailMessage

import pytest
from django.conf import settings
from django.test import Client

from host.process.users import User
from runs.mail import messages, sink
from runs.models import Artifact, Event
from tests.environment import free_port
from tests.factories import LeaseFactory, RunFactory, UserFactory
from tests.runs.admin.artifacts import write_artifact


@contextmanager
def serving(config):
    """Serve the sink in a thread until the block ends."""
    started, stop = threading.Event(), []

    async def serve():
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        await sink.serve(config, stopped, started.set)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(60)
    yield
    stop[0]()
    thread.join(60)


@pytest.fixture
def config():
    found = settings.OROBOROS
    slot = replace(found.slots[0], mail_port=free_port())
    return replace(found, slots=(slot,), discard_port=free_port())


def build_message(**fields):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "Hello"
    message.set_content("text")
    for name, value in fields.items():
        message[name] = value
    return message


@pytest.fixture
def ours(monkeypatch):
    """Let this process deliver, as if it were the slot's."""
    monkeypatch.setattr(sink, "list_users", lambda config, slot: [User(os.geteuid(), 0)])


@pytest.mark.django_db(transaction=True)
def test_a_message_is_kept_for_the_run_that_holds_the_slot(config, ours):
    run = LeaseFactory(held=True, slot__number=1).run
    with serving(config), smtplib.SMTP("127.0.0.1", config.slots[0].mail_port) as client:
        client.login("any", "password")
        client.send_message(build_message(), to_addrs=["b@example.com", "blind@example.com"])
        client.send_message(build_message())
    first, second = messages.list_messages(run)
    assert (first.name, second.name) == ("mail_0001", "mail_0002")
    mail = messages.read_mail(first)
    assert (mail.subject, mail.text.strip()) == ("Hello", "text")
    assert mail.recipients == ("b@example.com", "blind@example.com")


def test_another_users_process_cannot_deliver(config, monkeypatch):
    stranger = User(os.geteuid() + 1, 0)
    monkeypatch.setattr(sink, "list_users", lambda config, slot: [stranger])
    with (
        serving(config),
        smtplib.SMTP("127.0.0.1", config.slots[0].mail_port) as client,
        pytest.raises(smtplib.SMTPSenderRefused, match="Only the processes of preview-1"),
    ):
        client.send_message(build_message())


@pytest.mark.django_db(transaction=True)
def test_mail_above_the_limits_is_not_kept_and_told_once(config, monkeypatch):
    monkeypatch.setattr(messages, "MAX_MESSAGES", 1)
    run = LeaseFactory(held=True, slot__number=1).run
    for _ in range(3):
        messages.keep_message(config, config.slots[0], "a@b", ["c@d"], b"Subject: x\r\n\r\ny")
    assert messages.list_messages(run).count() == 1
    assert Event.objects.filter(run=run, kind="mail_limit").count() == 1
    monkeypatch.setattr(messages, "MAX_MESSAGES", 9)
    monkeypatch.setattr(messages, "MAX_BYTES", 50)
    messages.keep_message(config, config.slots[0], "a@b", ["c@d"], b"y" * 50)
    assert messages.list_messages(run).count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_no_run_sent_is_discarded(config, ours):
    messages.keep_message(config, config.slots[0], "a@b", ["c@d"], b"y")
    with serving(config), smtplib.SMTP("127.0.0.1", config.discard_port) as client:
        assert client.send_message(build_message()) == {}
    assert Artifact.objects.count() == 0


HOSTILE = """\
From: "<script>alert(1)</script>" <a@example.com>
To: b@example.com
Subject: <img src=x onerror=alert(1)>
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/html

<p>Hello</p><script>alert(1)</script>
--x
Content-Type: text/html
Content-Disposition: attachment; filename="page.html"

<script>alert(2)</script>
--x--
"""


@pytest.fixture
def browser(db):
    client = Client()
    client.force_login(UserFactory(groups=["viewer"]))
    return client


def test_html_is_shown_in_a_frame_without_scripts_and_attachments_are_downloads(browser):
    run = RunFactory()
    row = write_artifact(run, "mail_0001", HOSTILE)
    page = f"/admin/runs/run/{run.pk}/"
    listed = browser.get(f"{page}change/").content.decode()
    assert f"{page}mails/{row.pk}/" in listed
    shown = browser.get(f"{page}mails/{row.pk}/").content.decode()
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    for text in (listed, shown):
        assert "<img src=x" not in text
        assert "<script>alert" not in text
    frame = browser.get(f"{page}mails/{row.pk}/html/")
    policy = frame["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "frame-ancestors 'self'"} <= set(policy)
    assert (frame["X-Frame-Options"], frame["X-Content-Type-Options"]) == ("SAMEORIGIN", "nosniff")
    attachment = browser.get(f"{page}mails/{row.pk}/attachments/0/")
    assert attachment["Content-Disposition"] == 'attachment; filename="page.html"'
    assert attachment["Content-Type"] == "application/octet-stream"
    assert browser.get(f"{page}mails/{row.pk}/attachments/1/").status_code == 404


def test_the_messages_of_another_run_and_other_artifacts_are_not_found(browser):
    run, other = RunFactory(), RunFactory()
    row, log = write_artifact(other, "mail_0001", HOSTILE), write_artifact(run, "build_log", "x")
    for artifact in (row, log):
        assert browser.get(f"/admin/runs/run/{run.pk}/mails/{artifact.pk}/").status_code == 404


@pytest.mark.django_db
def test_the_api_lists_the_messages(ci):
    run = RunFactory()
    write_artifact(run, "mail_0001", HOSTILE)
    write_artifact(run, "build_log", "no message")
    [mail] = ci.get(f"/api/runs/{run.pk}/mails").json()["results"]
    assert (mail["name"], mail["subject"]) == ("mail_0001", "<img src=x onerror=alert(1)>")
    assert mail["attachments"][0]["name"] == "page.html"
    assert mail["url"] == f"/api/runs/{run.pk}/artifacts/mail_0001?generation=1"
