"""Every address of the API by role: who has to log in, who is refused, and who gets through."""

from datetime import timedelta
from itertools import count

import pytest
from django.conf import settings as conf
from django.test import Client
from django.urls import get_resolver

from accounts.models import ApiToken
from accounts.tokens import create_token
from core.clock import ClockTimestamp
from tests.factories import UserFactory
from web.permissions import ABILITIES, GROUPS, TOKEN_ABILITIES, RunLimits

pytestmark = pytest.mark.django_db
# For each address the method and the ability that it needs. A new address belongs here.
TABLE = """
GET  view    metrics
GET  view    api/docs/
GET  view    api/schema/
GET  view    api/runs
POST hold    api/runs
GET  view    api/runs/<str:run_id>
GET  view    api/runs/<str:run_id>/events
GET  view    api/runs/<str:run_id>/artifacts
GET  view    api/runs/<str:run_id>/artifacts/<path:name>
GET  view    api/runs/<str:run_id>/diff
GET  view    api/runs/<str:run_id>/mails
GET  view    api/runs/<str:run_id>/screenshots
GET  view    api/runs/<str:run_id>/screenshots/<str:name>
GET  view    api/runs/<str:run_id>/share-links
POST hold    api/runs/<str:run_id>/share-links
POST hold    api/runs/<str:run_id>/share-links/<int:link_id>/revoke
GET  view    api/runs/<str:run_id>/comments
POST hold    api/runs/<str:run_id>/comments
POST hold    api/runs/<str:run_id>/comments/<int:comment_id>/resolve
POST hold    api/runs/<str:run_id>/comments/<int:comment_id>/reopen
POST approve api/runs/<str:run_id>/approve
POST approve api/runs/<str:run_id>/precheck
POST approve api/runs/<str:run_id>/reject
POST hold    api/runs/<str:run_id>/cancel
POST hold    api/runs/<str:run_id>/retry
POST hold    api/runs/<str:run_id>/keep
GET  view    api/slots
POST hold    api/slots/acquire
POST operate api/slots/reap-expired
POST hold    api/slots/<str:slot_id>/heartbeat
POST hold    api/slots/<str:slot_id>/release
POST hold    api/slots/<str:slot_id>/restart
POST operate api/slots/<str:slot_id>/drain
POST operate api/slots/<str:slot_id>/undrain
POST operate api/slots/<str:slot_id>/quarantine
POST operate api/slots/<str:slot_id>/unquarantine
GET  view    api/slots/<str:slot_id>/logs
GET  view    api/slots/<str:slot_id>/logs/<str:name>
GET  view    api/shipping
POST operate api/shipping/freeze
GET  view    api/shipping/rollback
POST hold    api/shipping/revert
POST operate api/shipping/unfreeze
POST operate api/shipping/push
GET  view    api/releases
GET  view    api/releases/<str:release_id>
GET  view    api/releases/<str:release_id>/activations/<int:number>
POST operate api/releases/<str:release_id>/rollback
GET  operate api/releases/<str:release_id>/logs
GET  operate api/releases/<str:release_id>/logs/<str:name>
GET  view    api/deliveries
GET  view    api/deliveries/<str:delivery_id>
POST operate api/deliveries/<str:delivery_id>/redeliver
GET  view    api/pull-requests
GET  view    api/outbox
GET  operate api/notification-targets
POST operate api/notification-targets/<int:number>/test
GET  operate api/notifications
GET  view    api/me
GET  operate api/settings
POST operate api/settings/<str:name>
GET  operate api/variables
POST operate api/variables/<str:name>
GET  operate api/audit
GET  operate api/audit/export
"""
ROWS = [line.split() for line in TABLE.splitlines() if line]
# What a limited token may still write to: these check its limits themselves.
WRITES_OF_RUNS = {
    "api/runs", "api/slots/acquire", "api/slots/<str:slot_id>/heartbeat",
    "api/slots/<str:slot_id>/release", "api/slots/<str:slot_id>/restart",
    *(
        f"api/runs/<str:run_id>/{verb}"
        for verb in ("approve", "precheck", "reject", "cancel", "retry", "keep")
    ),
    "api/runs/<str:run_id>/share-links", "api/runs/<str:run_id>/share-links/<int:link_id>/revoke",
    "api/runs/<str:run_id>/comments", "api/runs/<str:run_id>/comments/<int:comment_id>/resolve",
    "api/runs/<str:run_id>/comments/<int:comment_id>/reopen",
}  # fmt: skip
ARGUMENTS = {
    "<str:run_id>": "00000000-0000-0000-0000-000000000000",
    "<str:release_id>": "r-20261124000000-000000000000",
    "<str:slot_id>": "preview-1",
    "<str:delivery_id>": "1",
    "<path:name>": "log",
    "<str:name>": "log",
    "<int:number>": "1",
    "<int:link_id>": "1",
    "<int:comment_id>": "1",
}


def list_addresses(resolver, prefix=""):
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if hasattr(entry, "url_patterns"):
            yield from list_addresses(entry, path)
        elif path.startswith("api/") or path == "metrics":
            view = entry.callback.view_class
            yield from ((one.upper(), path) for one in ("get", "post", "put") if hasattr(view, one))


def test_every_address_of_the_api_is_in_the_table():
    assert sorted(list_addresses(get_resolver())) == sorted((row[0], row[2]) for row in ROWS)


addresses = count(1)


def ask(method, path, **headers):
    """Return the status of a request that states nothing, and so changes nothing."""
    for name, value in ARGUMENTS.items():
        path = path.replace(name, value)
    client = Client(headers=headers, REMOTE_ADDR=f"198.51.100.{next(addresses) % 250}")
    body = {"content_type": "application/json"} if method == "POST" else {}
    return getattr(client, method.lower())(f"/{path}", **body).status_code


def make_token(*abilities, limits=None):
    name = "-".join((*abilities, "limited" if limits else "full"))
    secret = create_token(name, list(abilities), created_by="ann", limits=limits)
    return {"authorization": f"Bearer {secret}"}


def make_session(role):
    browser = Client()
    browser.force_login(UserFactory(groups=[role]))
    session = browser.cookies[conf.SESSION_COOKIE_NAME].value
    cookies = f"{conf.SESSION_COOKIE_NAME}={session}; {conf.CSRF_COOKIE_NAME}={'a' * 32}"
    return {"cookie": cookies, "x-csrftoken": "a" * 32}


def assert_column(headers, abilities, refused=frozenset()):
    """Assert who gets through of all addresses; `refused` are those beyond a token's limits."""
    for method, ability, path in ROWS:
        passes = ability in abilities and (method, path) not in refused
        is_refused = ask(method, path, **headers) in (401, 403)
        assert is_refused != passes, (method, path, abilities)


@pytest.mark.parametrize("role", GROUPS)
def test_a_person_gets_through_where_the_role_has_the_ability(role):
    assert_column(make_session(role), GROUPS[role])


@pytest.mark.parametrize("ability", TOKEN_ABILITIES)
def test_a_token_gets_through_where_it_has_the_ability(ability):
    assert_column(make_token(ability), {ability})


def test_a_limited_token_writes_to_nothing_but_its_runs():
    beyond = {(row[0], row[2]) for row in ROWS if row[0] == "POST"}
    # What they read may be of any run.
    beyond |= {("GET", row[2]) for row in ROWS if row[2].startswith("api/slots/<str:slot_id>/logs")}
    headers = make_token(*ABILITIES, limits=RunLimits(("feature/*",)))
    # Those of runs answer by their own rules: no run is named here.
    beyond -= {("POST", path) for path in WRITES_OF_RUNS}
    assert_column(headers, ABILITIES, beyond)


def test_without_a_valid_token_every_address_asks_who_it_is():
    expired, revoked = make_token("view"), make_token("operate")
    ApiToken.objects.filter(name="view-full").update(expires_at=ClockTimestamp() - timedelta(1))
    ApiToken.objects.get(name="operate-full").revoke(by="ann")
    for headers in ({}, expired, revoked, {"origin": "https://evil.example"}):
        assert {ask(method, path, **headers) for method, _, path in ROWS} == {401}
    assert ask("GET", "api/runs", host="evil.example") == 400
