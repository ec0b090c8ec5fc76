"""Requests through the real router: what reaches the preview, and what the application sees."""

import socket
from dataclasses import replace

import jwt
import pytest
from django.conf import settings
from django.test import Client

from host.app.resources.user_header import derive_key
from tests.environment import free_port
from tests.factories import ShareLinkFactory, UserFactory
from tests.runs.protection.stack import running_router
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import request

OWN = ("oroboros_preview", "oroboros_entry", "x-oroboros-", "oroboros_bypass", "x-forwarded-uri")
PREFLIGHT = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-a"}


@pytest.mark.django_db(transaction=True)
def test_the_router_lets_nothing_through_without_access_and_nothing_of_ours_with_it(telling, token):
    assert_strangers_are_refused(telling)
    assert telling.backend.requests == []
    cookie = open_with_the_query(telling, token)
    assert telling.backend.requests == []
    assert_application_sees_its_own(telling, token, cookie)
    assert_a_websocket_ends_after_its_link_was_revoked(telling)
    for one in telling.backend.requests:
        assert not any(name in str(one).lower() for name in (*OWN, token)), one
    assert_the_application_is_told_which_person_looks(telling)


def assert_strangers_are_refused(stack):
    refused = stack.send("/api/x", "POST", "x" * 3_000_000, Accept="text/html")
    assert (refused.status, b"Log in" in refused.body) == (401, True)
    assert stack.send("/", Sec_Fetch_Mode="navigate").status == 302
    assert stack.send("/health").status == 401
    assert stack.send("/", Sec_Fetch_Mode="navigate", Service_Worker="script").status == 401
    assert b" 401 " in upgrade(stack)
    allowed = stack.send("/api/x", "OPTIONS", Origin="https://app.example.com", **PREFLIGHT)
    assert (allowed.status, allowed.headers["Access-Control-Allow-Headers"]) == (204, "x-a")
    assert stack.send("/api/x", "OPTIONS", Origin="https://evil.example", **PREFLIGHT).status == 401
    # The run's page reads which run the host name shows.
    identity = stack.send("/.well-known/oroboros")
    assert identity.json["run"] == str(stack.run.pk)
    assert stack.send("/.well-known/oroboros", "POST", "x").status == 401
    internal = request(stack.port, "/internal/preview-access", Host="api.localhost")
    assert internal.status == 404
    absent = request(stack.port, "/", Host="gone-1a2b3c.preview.localhost")
    assert absent.status == 401
    assert_a_preflight_reads_nothing(stack)


def assert_a_preflight_reads_nothing(stack):
    """Neither what a name without a slot says, nor the health of a preview."""
    forged = {"Origin": "https://app.example.com", **PREFLIGHT}
    absent = request(stack.port, "/", "OPTIONS", Host="gone-1a2b3c.preview.localhost", **forged)
    assert absent.status == 401
    for path in ("/health", "/healthz", "/readyz"):
        answer = stack.send(path, "OPTIONS", **forged)
        assert (answer.status, answer.body) == (204, b"")


def open_with_the_query(stack, token):
    """Open the preview as a browser test does; return the cookie."""
    opened = stack.send(f"/api/x?a=1&oroboros_bypass={token}&b=%20")
    assert opened.status == 302
    assert opened.headers["Location"] == f"http://{stack.host}:{stack.port}/api/x?a=1&b=%20"
    assert "HttpOnly" in opened.headers["Set-Cookie"]
    return opened.headers["Set-Cookie"].partition(";")[0]


def assert_application_sees_its_own(stack, token, cookie):
    cookies = f"mine=1; {cookie}; oroboros_entry=x"
    body = "x" * 3_000_000
    answer = stack.send("/api/x?a=1", "POST", body, Cookie=cookies)
    assert answer.headers["Content-Security-Policy"] == (
        f"frame-ancestors 'self' http://api.localhost:{stack.port}"
    )
    assert (answer.status, answer.json["method"], answer.json["body"]) == (200, "POST", body)
    assert answer.json["path"] == "/api/x?a=1"
    assert dict(answer.json["headers"])["cookie"] == "mine=1"
    assert stack.send("/api/x", X_Oroboros_Bypass=token, X_Oroboros_User="olga").status == 200
    gone = {"Host": "gone-1a2b3c.preview.localhost", "X_Oroboros_Bypass": token}
    absent = request(stack.port, "/", **gone)
    assert (absent.status, b"No run of the last 30 days" in absent.body) == (404, True)
    assert absent.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert request(stack.port, "/.well-known/oroboros", **gone).json["run"] is None
    answer = upgrade(stack, f"X-Oroboros-Bypass: {token}")
    assert b" 101 " in answer and answer.endswith(b"echo hello")


def assert_the_application_is_told_which_person_looks(stack):
    """By the router, whatever the visitor sends himself."""
    cookie = log_in(stack, UserFactory(username="vera", groups=["viewer"]))
    key = derive_key(settings.SECRET_KEY, str(stack.run.pk))
    # A proxy removes what Connection names.
    for more in ({}, {"Connection": "X-Oroboros-User"}):
        sent = {"Cookie": cookie, "X_Oroboros_User": "olga", "X_Oroboros_Client": "x", **more}
        answer = stack.send("/api/x", **sent)
        own = [(name, value) for name, value in answer.json["headers"] if "oroboros" in name]
        assert [name for name, _ in own] == ["x-oroboros-user"], more
        claims = jwt.decode(own[0][1], key, ["HS256"], audience=stack.host)
        assert claims["sub"] == "vera"


def log_in(stack, user):
    """Open the preview as a person's browser does; return the cookie."""
    browser = Client()
    browser.force_login(user)
    session = "; ".join(f"{one.key}={one.value}" for one in browser.cookies.values())
    opened = stack.send("/", Sec_Fetch_Mode="navigate")
    nonce = opened.headers["Set-Cookie"].partition(";")[0]
    entry = opened.headers["Location"].partition(f":{stack.port}")[2]
    headers = {"Host": f"api.localhost:{stack.port}", "Cookie": session}
    ticket = request(stack.port, entry, **headers).headers["Location"]
    entered = stack.send(ticket.partition(f":{stack.port}")[2], Cookie=nonce)
    return entered.headers["Set-Cookie"].partition(";")[0]


def assert_a_websocket_ends_after_its_link_was_revoked(stack):
    link = ShareLinkFactory(run=stack.run, secret="a-secret-of-this-test")
    opened = stack.send("/?oroboros_share=a-secret-of-this-test", Sec_Fetch_Mode="navigate")
    cookie = f"Cookie: {opened.headers['Set-Cookie'].partition(';')[0]}"
    with ask_for_upgrade(stack, cookie) as connection:
        assert b" 101 " in connection.recv(4096)
        link.revoke(by="ann")
        assert b" 401 " in upgrade(stack, cookie)
        # The fixture's PREVIEW_WEBSOCKET_SECONDS; the other end stays silent, and sends no more.
        while connection.recv(4096):
            pass


def upgrade(stack, *headers):
    """Ask for a WebSocket, then send five bytes if it was opened; return all that is received."""
    with ask_for_upgrade(stack, *headers) as connection:
        received = connection.recv(4096)
        if b" 101 " not in received:
            return received
        connection.sendall(b"hello")
        while part := connection.recv(4096):
            received += part
        return received


def ask_for_upgrade(stack, *headers):
    lines = [
        "GET /ws HTTP/1.1",
        f"Host: {stack.host}:{stack.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    connection = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def test_only_the_admin_and_its_own_pages_may_frame_a_preview(open_config):
    own = "default-src 'self'"
    config = replace(open_config, web_port=free_port())
    answers = {"more_headers": [("Content-Security-Policy", own)]}
    with (
        running_router(config),
        echo(config.slots[0].web_port, **answers),
        echo(config.web_port, **answers),
    ):
        policies = {
            host: request(config.router_port, "/x", Host=f"{host}.example.com").headers.get_all(
                "Content-Security-Policy"
            )
            for host in ("preview1", "app")
        }
    ours = f"frame-ancestors 'self' http://api.localhost:{config.router_port}"
    assert policies == {"preview1": [ours, own], "app": [own]}


def test_without_the_protection_previews_and_production_get_none_of_our_headers(open_config):
    config = replace(open_config, web_port=free_port())
    with running_router(config), echo(config.slots[0].web_port), echo(config.web_port):
        headers = {"X_Oroboros_User": "olga", "X_Oroboros_Bypass": "x"}
        for host in ("preview1.example.com", "app.example.com"):
            answer = request(config.router_port, "/x", Host=host, **headers)
            assert answer.status == 200
            own = [name for name, _ in answer.json["headers"] if name.startswith("x-oroboros-")]
            assert own == [], host
