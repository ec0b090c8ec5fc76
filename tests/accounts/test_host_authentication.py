"""Another user of the host, for real: sockets, uids and a gunicorn of the test's own."""

import os
import socket

import pytest
from django.conf import settings
from django.test import Client

from runs.models import Run
from tests import service
from tests.factories import UserFactory

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]
STRANGER = 65534
BODY = b'{"title": "From a stranger", "prepare": false}'


@pytest.fixture
def port():
    """The API on a port of its own, on the tests' database."""
    with service.api() as port:
        yield port


def request(port, line, body=b"", cookie=b""):
    host = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\n".encode()
    host += b"Cookie: " + cookie + b"\r\n" if cookie else b""
    head = line + b"\r\n" + host + b"Content-Type: application/json\r\n"
    return head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def ask(port, line, body=b"", cookie=b""):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request(port, line, body, cookie))
        return b"".join(iter(lambda: client.recv(65536), b""))


def as_stranger(work, uid=STRANGER):
    """Do `work` in a process of another uid; its return value must be true."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_root_is_the_operator_and_another_uid_gets_403(port):
    as_stranger(lambda: b" 403 Forbidden" in ask(port, b"POST /api/runs HTTP/1.1", BODY))
    assert Run.objects.count() == 0
    assert b" 201 Created" in ask(port, b"POST /api/runs HTTP/1.1", BODY)
    assert Run.objects.get().created_by == "host"


def test_a_request_that_is_posted_and_closed_at_once_does_nothing_a_thousand_times(port):
    whole = request(port, b"POST /api/runs HTTP/1.1", BODY)

    def post_and_close():
        for number in range(1000):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(whole)
                if number % 2:  # reset instead of an orderly end
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return True

    as_stranger(post_and_close)
    assert b" 200 OK" in ask(port, b"GET /api/runs HTTP/1.1")  # the last of them are over
    assert Run.objects.count() == 0


def test_a_session_that_a_preview_or_production_shows_is_nobodys(port):
    browser, config = Client(), settings.OROBOROS
    browser.force_login(UserFactory(groups=["viewer"]))
    name = settings.SESSION_COOKIE_NAME
    cookie = f"{name}={browser.cookies[name].value}".encode()

    def seen():
        return b" 200 OK" in ask(port, b"GET /api/runs HTTP/1.1", cookie=cookie)

    assert seen()
    as_stranger(seen)  # a person's browser is of any user of the host
    users = [config.slot_user(config.slots[0]), config.job_user, config.app_user]
    for user in users:
        as_stranger(lambda: not seen(), user.uid)


def test_such_a_session_counts_for_nothing_either_once_who_showed_it_has_gone(port):
    browser = Client()
    browser.force_login(UserFactory(groups=["operator"]))
    cookies = {one: browser.cookies[one].value for one in browser.cookies}
    cookies[settings.CSRF_COOKIE_NAME] = "a" * 32
    shown = "; ".join(f"{one}={value}" for one, value in cookies.items()).encode()
    whole = request(port, b"POST /api/runs HTTP/1.1", BODY, shown)
    whole = whole.replace(b"Connection", b"X-CSRFToken: " + b"a" * 32 + b"\r\nConnection", 1)

    def post_and_close():
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(whole)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return True

    as_stranger(post_and_close, settings.OROBOROS.app_user.uid)
    assert b" 200 OK" in ask(port, b"GET /api/runs HTTP/1.1")  # the last of them are over
    assert Run.objects.count() == 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(whole)
        assert b" 201 Created" in b"".join(iter(lambda: client.recv(65536), b""))
