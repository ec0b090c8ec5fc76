"""Host authentication with real sockets, other uids and a gunicorn of its own."""

import os
import re
import socket

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import LoginAttempt
from runs.models import Run
from tests import service
from tests.factories import UserFactory
from tests.router import running_router

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]
STRANGER = 65534
BODY = b'{"title": "From a stranger", "prepare": false}'


@pytest.fixture
def port():
    """The API on a port of its own, on the tests' database."""
    with service.api() as port:
        yield port


def build_request(port, line, body=b"", cookie=b"", host=None, content_type=b"application/json"):
    host = b"Host: " + (host or b"127.0.0.1:%d" % port) + b"\r\nConnection: close\r\n"
    host += b"Cookie: " + cookie + b"\r\n" if cookie else b""
    head = line + b"\r\n" + host + b"Content-Type: " + content_type + b"\r\n"
    return head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def send_request(port, line, body=b"", cookie=b"", **options):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(build_request(port, line, body, cookie, **options))
        return b"".join(iter(lambda: client.recv(65536), b""))


def run_as_user(work, uid=STRANGER):
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


def test_root_is_the_operator_and_another_uid_returns_403(port):
    run_as_user(lambda: b" 403 Forbidden" in send_request(port, b"POST /api/runs HTTP/1.1", BODY))
    assert Run.objects.count() == 0
    assert b" 201 Created" in send_request(port, b"POST /api/runs HTTP/1.1", BODY)
    assert Run.objects.get().created_by == "host"


def test_a_request_whose_connection_is_closed_at_once_has_no_effect(port):
    whole = build_request(port, b"POST /api/runs HTTP/1.1", BODY)

    def post_and_close():
        for number in range(1000):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                client.sendall(whole)
                if number % 2:  # reset instead of an orderly end
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return True

    run_as_user(post_and_close)
    assert b" 200 OK" in send_request(port, b"GET /api/runs HTTP/1.1")  # the last of them are over
    assert Run.objects.count() == 0


def test_a_session_cookie_sent_by_an_application_is_ignored(port):
    browser, config = Client(), settings.OROBOROS
    browser.force_login(UserFactory(groups=["viewer"]))
    name = settings.SESSION_COOKIE_NAME
    cookie = f"{name}={browser.cookies[name].value}".encode()

    def is_accepted():
        return b" 200 OK" in send_request(port, b"GET /api/runs HTTP/1.1", cookie=cookie)

    assert is_accepted()
    run_as_user(is_accepted)  # a person's browser is of any user of the host
    users = [config.slot_user(config.slots[0]), config.job_user, config.app_user]
    for user in users:
        run_as_user(lambda: not is_accepted(), user.uid)


def test_a_session_cookie_from_a_closed_connection_is_ignored(port):
    browser = Client()
    browser.force_login(UserFactory(groups=["operator"]))
    cookies = {one: browser.cookies[one].value for one in browser.cookies}
    cookies[settings.CSRF_COOKIE_NAME] = "a" * 32
    shown = "; ".join(f"{one}={value}" for one, value in cookies.items()).encode()
    whole = build_request(port, b"POST /api/runs HTTP/1.1", BODY, shown)
    whole = whole.replace(b"Connection", b"X-CSRFToken: " + b"a" * 32 + b"\r\nConnection", 1)

    def post_and_close():
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                client.sendall(whole)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return True

    run_as_user(post_and_close, settings.OROBOROS.app_user.uid)
    assert b" 200 OK" in send_request(port, b"GET /api/runs HTTP/1.1")  # the last of them are over
    assert Run.objects.count() == 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(whole)
        assert b" 201 Created" in b"".join(iter(lambda: client.recv(65536), b""))


def test_applications_are_not_asked_to_log_in_directly_or_through_the_router(port):
    login = b"POST /admin/login/ HTTP/1.1"
    # The same page, if SCRIPT_NAME were believed.
    hidden = b"GET /api/admin/login/ HTTP/1.1\r\nSCRIPT_NAME: /api\r\nAuthorization: Bearer x"
    users = [settings.OROBOROS.job_user, settings.OROBOROS.app_user]
    with running_router(port) as router:

        def is_refused(port=port, host=None):
            answer = send_request(port, login, b"{}", host=host)
            return b" 403 Forbidden" in answer and b"need a token" in answer

        for user in users:
            run_as_user(is_refused, user.uid)
            run_as_user(lambda: is_refused(router, b"api.localhost"), user.uid)
            run_as_user(lambda: b" 200 OK" in send_request(port, b"GET /health HTTP/1.1"), user.uid)
            run_as_user(lambda: b" 404 Not Found" in send_request(port, hidden), user.uid)
        assert not is_refused(router, b"api.localhost")
        run_as_user(lambda: not is_refused())  # a person's browser is of any user of the host


def test_invented_addresses_of_other_users_are_not_believed(port):
    def guess():
        for number in range(3):
            client = b"X-Forwarded-For: 192.0.2.%d\r\nX-Oroboros-Client: 192.0.2.1 1 ::1 2" % number
            answer = send_request(port, b"GET /admin/login/ HTTP/1.1\r\n" + client)
            cookie = re.search(rb"Set-Cookie: (oroboros_csrftoken=(\w+))", answer)
            body = b"username=olga&password=x&csrfmiddlewaretoken=" + cookie[2]
            line = b"POST /admin/login/ HTTP/1.1\r\n" + client
            form = b"application/x-www-form-urlencoded"
            send_request(port, line, body, cookie[1], content_type=form)
        return True

    run_as_user(guess)
    assert set(LoginAttempt.objects.values_list("address", flat=True)) == {"127.0.0.1"}
    assert LoginAttempt.objects.count() == 3
