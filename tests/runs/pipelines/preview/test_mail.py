"""A preview's mail is on its run's page, and nothing of it reaches the host's mail server."""

import os
import smtplib
import socket
import threading
from contextlib import contextmanager

import pytest
from django.test import Client

from host.process import socket_owner
from runs.mail import messages
from tests.factories import UserFactory
from tests.runs.mail.test_sink import serving
from tests.runs.pipelines.shipping.world import GUESTBOOK
from tests.system.host import wait_for

MAIL_SERVER = ("127.0.0.1", 25)
# It finds its mail server with the lines that the manifest's page prints.
SENDER = """
import os, smtplib, time
from email.message import EmailMessage
host = os.environ.get("EMAIL_HOST", "localhost")
message = EmailMessage()
message["From"], message["To"] = "shop@example.com", "ada@example.com"
message["Subject"] = "Your order"
message.set_content("It is on its way")
with smtplib.SMTP(host, int(os.environ.get("EMAIL_PORT", "25"))) as server:
    server.send_message(message)
while True:
    time.sleep(60)
"""
FILES = {
    "Procfile": "web: python -m guestbook\nsender: python sender.py\n",
    "backend/sender.py": SENDER,
}


@contextmanager
def watching():
    """Listen as the host's mail server; yields the users of all who connect to it."""
    users, listener = [], socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(MAIL_SERVER)
    listener.listen()

    def answer():
        # A client waits for the greeting, so the owner of its end is known until it is closed.
        while True:
            try:
                client, peer = listener.accept()
            except OSError:
                return
            with client:
                users.append(socket_owner.find_owner(*peer, *MAIL_SERVER))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield users
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        listener.close()


@pytest.mark.root
@pytest.mark.mail_port
def test_a_previews_mail_is_on_its_runs_page_and_not_at_the_hosts_mail_server(host):
    place = host(GUESTBOOK)
    user = place.config.slot_user(place.slot)
    with serving(place.config), watching() as users:
        run = place.preview("feature/mail", FILES)
        wait_for(lambda: messages.list_messages(run).exists(), 60, "no mail is kept")
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
            smtplib.SMTP(*MAIL_SERVER)
        wait_for(lambda: os.geteuid() in users, 60, "the watch sees no connection")
        assert user.uid not in users
    browser = Client()
    browser.force_login(UserFactory(groups=["viewer"]))
    page = browser.get(f"/admin/runs/run/{run.pk}/change/").content.decode()
    assert "Your order" in page and "ada@example.com" in page
