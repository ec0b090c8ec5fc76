"""Every endpoint and page by who sends the request: tokens, share links, this host, other sites.

The rows are those of the API and of the pages by role, and the few below that are neither.
"""

import os
import socket
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import pytest
from django.conf import settings as conf
from django.test import Client
from django.urls import get_resolver

from accounts.models import ApiToken
from accounts.tokens import create_token
from core.clock import ClockTimestamp
from runs.protection import access
from runs.protection.access import VISIT_COOKIE
from runs.protection.rules import BYPASS, SHARE
from tests.factories import LeaseFactory, ShareLinkFactory, UserFactory
from tests.oroboros import test_admin_roles as pages
from tests.oroboros import test_roles as api
from web.permissions import ABILITIES, TOKEN_ABILITIES

pytestmark = pytest.mark.django_db
# Neither of the API nor of the admin: what GET and POST get of every sender. The names under
# /internal say nothing without the router's headers, a hook nothing without a signature.
OTHERS = {
    "health": (200, 403),
    "healthz": (200, 403),
    "readyz": (200, 403),
    "hooks/<str:forge>": (405, 404),
    "internal/certificate": (404, 403),
    "internal/preview": (404, 403),
}
STRANGER = 65534
FOREIGN = "https://evil.example"
OTHER_ABILITIES = [one for one in TOKEN_ABILITIES if one != "operate"]
addresses = count(1)


def list_paths(resolver, prefix=""):
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if hasattr(entry, "url_patterns"):
            yield from list_paths(entry, path)
        else:
            yield path


def test_every_address_is_in_one_of_the_three_lists():
    known = {row[2] for row in api.ROWS} | set(OTHERS)
    paths = {path for path in list_paths(get_resolver()) if path.startswith(pages.OTHERS)}
    assert paths == known
    listed = {"/" + path.partition("(?P<")[0] for path in list_paths(get_resolver())}
    rows = {page.removesuffix("(?P<") for page in pages.ROWS}
    assert {one for one in listed if not one[1:].startswith(pages.OTHERS)} == rows


class Sender:
    """Sends requests that state nothing with the headers, the query and the connection given."""

    def __init__(self, *, query="", **extra):
        self.query, self.extra = query, extra

    def send(self, method, path, **headers):
        for name, value in {**api.ARGUMENTS, "<str:forge>": "github"}.items():
            path = path.replace(name, value)
        address = f"198.51.100.{next(addresses) % 250}"
        client = Client(enforce_csrf_checks=True, **{"REMOTE_ADDR": address, **self.extra})
        body = {"content_type": "application/json"} if method == "POST" else {}
        joined = "&" if "?" in path else "?"
        uri = f"/{path}{joined}{self.query}" if self.query else f"/{path}"
        return getattr(client, method.lower())(uri, headers=headers, **body)

    # What `get_outcome` of the pages requests with.
    def get(self, address):
        return self.send("GET", address.removeprefix("/"))


def list_outcomes(sender):
    """Return the statuses of the API's rows, and the outcomes of the pages by their first role."""
    statuses = {(m, path): sender.send(m, path).status_code for m, _, path in api.ROWS}
    outcomes = {
        page: pages.get_outcome(sender, page, {})
        for page in pages.ASKED
        if page not in pages.ELSEWHERE
    }
    return statuses, outcomes


def assert_stranger(sender, statuses=frozenset({401})):
    """Assert that the sender reaches what a stranger reaches, and none of the API."""
    found, outcomes = list_outcomes(sender)
    assert {one: status for one, status in found.items() if status not in statuses} == {}
    for page, outcome in outcomes.items():
        expected = "reached" if pages.ROWS[page] == "stranger" else "login"
        assert (page, outcome) == (page, expected)
    for path, (get, post) in OTHERS.items():
        found = (sender.send("GET", path).status_code, sender.send("POST", path).status_code)
        assert (path, *found) == (path, get, post)


def make_bearer(name, abilities=ABILITIES):
    secret = create_token(name, list(abilities), created_by="ann")
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def test_a_share_link_opens_no_endpoint_and_no_page():
    lease = LeaseFactory(held=True, slot__number=1)
    link = ShareLinkFactory(run=lease.run)
    host = access.find_preview_host(f"{lease.run.label}.preview.localhost", "1")
    cookie = access.sign_cookie("share", str(link.pk), host)
    assert access.find_admission(f"{VISIT_COOKIE}={cookie}", host) is not None
    assert_stranger(Sender(query=f"{SHARE}=secret", HTTP_COOKIE=f"{VISIT_COOKIE}={cookie}"))


def test_an_expired_and_a_revoked_token_open_nothing():
    expired, revoked = make_bearer("expired"), make_bearer("revoked")
    ApiToken.objects.filter(name="expired").update(expires_at=ClockTimestamp() - timedelta(1))
    ApiToken.objects.get(name="revoked").revoke(by="ann")
    assert_stranger(Sender(**expired))
    assert_stranger(Sender(**revoked))


@pytest.mark.parametrize(
    "ability", ["operate", *(pytest.param(one, marks=pytest.mark.full) for one in OTHER_ABILITIES)]
)
def test_a_token_opens_no_page_and_no_other_address(ability):
    bearer = make_bearer(ability, [ability])
    secret = bearer["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    outcomes = list_outcomes(Sender(query=f"{BYPASS}={secret}", **bearer))[1]
    for page, outcome in outcomes.items():
        assert (page, outcome != "login") == (page, pages.ROWS[page] == "stranger")


@contextmanager
def connect_loopback(uid=None):
    """Yield the environment of a request over a loopback connection that the user opened."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            if uid is not None:
                os.seteuid(uid)  # the kernel names the user that made the socket
            client = socket.create_connection(server.getsockname(), timeout=20)
        finally:
            if uid is not None:
                os.seteuid(0)
        with client, server.accept()[0] as connection:
            yield {
                "gunicorn.socket": connection,
                "REMOTE_ADDR": "127.0.0.1",
                "HTTP_HOST": f"127.0.0.1:{server.getsockname()[1]}",
            }


def test_the_hosts_shell_has_all_of_the_api_and_no_page(settings):
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "127.0.0.1"]
    with connect_loopback() as environment:
        statuses, outcomes = list_outcomes(Sender(**environment))
        assert {one for one, status in statuses.items() if status in (401, 403)} == set()
        reached = {page for page, outcome in outcomes.items() if outcome != "login"}
        assert reached == {page for page in outcomes if pages.ROWS[page] == "stranger"}
        # A page whose name leads to this host, a page's script, and a proxy are not the shell.
        for name, value in (
            ("HTTP_HOST", "api.localhost"),
            ("HTTP_ORIGIN", FOREIGN),
            ("HTTP_X_FORWARDED_FOR", "192.0.2.7"),
        ):
            sender = Sender(**{**environment, name: value})
            assert {sender.send(m, path).status_code for m, _, path in api.ROWS} == {401}


@pytest.mark.root
def test_another_user_of_the_host_is_refused_by_the_api_and_is_a_stranger_elsewhere(settings):
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "127.0.0.1"]
    with connect_loopback(STRANGER) as environment:
        assert_stranger(Sender(**environment), {403})


def test_a_foreign_origin_changes_nothing_and_reads_nothing():
    browser = Client()
    browser.force_login(UserFactory(groups=["operator"], is_superuser=True))
    cookies = "; ".join(f"{name}={one.value}" for name, one in browser.cookies.items())
    token = f"{conf.CSRF_COOKIE_NAME}={'a' * 32}"
    sender = Sender(
        HTTP_COOKIE=f"{cookies}; {token}",
        HTTP_X_CSRFTOKEN="a" * 32,
        HTTP_ORIGIN=FOREIGN,
        HTTP_ACCEPT="application/json",  # a page of the error takes longer
    )
    for method, _, path in api.ROWS:
        answer = sender.send(method, path)
        assert (path, "Access-Control-Allow-Origin" in answer) == (path, False)
        if method == "POST":
            assert (path, answer.status_code) == (path, 403)
    for page in pages.ROWS:
        answer = sender.send("POST", pages.build_address(page, {}).removeprefix("/"))
        assert (page, answer.status_code) == (page, 403)
        assert "Access-Control-Allow-Origin" not in answer


def test_a_foreign_host_name_is_answered_nothing():
    sender = Sender(HTTP_HOST="evil.example", **make_bearer("full"))
    paths = [
        *((method, path) for method, _, path in api.ROWS),
        *(("GET", pages.build_address(page, {}).removeprefix("/")) for page in pages.ROWS),
        *(("GET", path) for path in OTHERS),
    ]
    found = {(path, sender.send(method, path).status_code) for method, path in paths}
    assert {one for one in found if one[1] != 400} == set()
