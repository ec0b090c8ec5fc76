"""Authentication by socket, token and session, and the abilities that follow from it."""

import os
import re
import socket
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.cache.backends.locmem import LocMemCache
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import get_resolver, include, path
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import authentication, tokens
from accounts.models import ApiToken
from accounts.token_throttle import MinuteThrottle
from core.clock import ClockTimestamp
from host.process import socket_owner
from tests.factories import UserFactory
from web import permissions


class ActorView(APIView):
    abilities = {
        "GET": permissions.VIEW,
        "POST": permissions.HOLD,
        "PUT": permissions.APPROVE,
    }

    def get(self, request):
        return Response({"actor": permissions.get_actor_name(request)})

    post = put = delete = get


urlpatterns = [path("api/who", ActorView.as_view()), path("", include("oroboros.urls"))]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]
BROWSER = {"accept": "text/html"}


@pytest.fixture
def connection():
    """A loopback connection within this process: the client's and the server's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            yield client, server


def ask(server, method="post", **headers):
    """Send a request as if gunicorn had received it on the socket `server`."""
    headers.setdefault("host", f"127.0.0.1:{server.getsockname()[1]}")
    return getattr(Client(), method)(
        "/api/who",
        headers=headers,
        **{"gunicorn.socket": server, "content_type": "application/json"},
    )


# --- the host's shell


def test_the_services_own_user_on_this_host_is_the_operator(connection):
    for host in ("127.0.0.1", "localhost"):
        answer = ask(connection[1], host=f"{host}:{connection[1].getsockname()[1]}")
        assert (answer.status_code, answer.json()) == (200, {"actor": "host"})
    assert ask(connection[1], "delete").status_code == 200


def test_root_is_the_operator_and_other_users_return_403(connection, monkeypatch):
    for uid, status in ((0, 200), (os.geteuid(), 200), (os.geteuid() + 1, 403), (65534, 403)):
        monkeypatch.setattr(socket_owner, "find_owner", lambda *endpoints, uid=uid: uid)
        assert ask(connection[1]).status_code == status


def test_the_kernel_is_queried_once_for_a_request(connection, monkeypatch):
    queried, find_owner = [], socket_owner.find_owner

    def count(*endpoints):
        queried.append(endpoints)
        return find_owner(*endpoints)

    monkeypatch.setattr(socket_owner, "find_owner", count)
    for number in (1, 2):
        assert ask(connection[1], "delete").status_code == 200
        assert len(queried) == number


def test_a_closed_connection_is_not_authenticated(connection):
    client, server = connection
    client.close()
    answer = ask(server)
    # As root applications have users of their own, and this may have been one of them.
    expected = (403, "forbidden") if os.geteuid() == 0 else (401, "not_authenticated")
    assert (answer.status_code, answer.json()["error"]) == expected


@pytest.mark.parametrize(
    "header",
    [
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "null"},
        {"forwarded": "for=127.0.0.1"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-host": "127.0.0.1:8000"},
        {"x-forwarded-anything": ""},
        {"x-real-ip": "127.0.0.1"},
        {"via": "1.1 caddy"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-origin"},
        {"host": "127.0.0.1:1"},
        {"host": "127.0.0.1"},
        {"host": "localhost"},
        {"authorization": "Bearer x"},
        {"cookie": f"{settings.SESSION_COOKIE_NAME}=x"},
    ],
)
def test_a_request_of_a_proxy_or_a_web_page_returns_401(connection, header):
    assert ask(connection[1], **header).status_code == 401


def test_an_address_typed_into_a_browser_counts_as_the_shell(connection):
    assert ask(connection[1], **{"sec-fetch-site": "none"}).status_code == 200


def test_a_connection_from_another_host_is_not_loopback():
    class Elsewhere:
        def getpeername(self):
            return "192.0.2.7", 5000

        def getsockname(self):
            return "127.0.0.1", 8000

    assert authentication.get_loopback_endpoints(Elsewhere()) is None
    with socket.socketpair()[0] as unix:
        assert authentication.get_loopback_endpoints(unix) is None


def test_a_request_without_a_socket_returns_401():
    assert Client(headers={"host": "127.0.0.1:8000"}).post("/api/who").status_code == 401


# --- tokens


def request_with_token(secret, method="get", **environ):
    headers = {"authorization": f"Bearer {secret}"}
    environ["content_type"] = "application/json"
    return getattr(Client(), method)("/api/who", headers=headers, **environ)


def test_a_token_has_its_own_abilities_and_is_stored_as_a_hash():
    secret = tokens.create_token("ci", ["view", "hold"], created_by="alice")
    token = ApiToken.objects.get()
    assert secret not in (token.digest, token.name)
    assert request_with_token(secret).json() == {"actor": "token ci"}
    methods = ("get", "head", "options", "post", "put", "delete")
    statuses = {method: request_with_token(secret, method).status_code for method in methods}
    assert statuses == {
        "get": 200,
        "head": 200,
        "options": 200,
        "post": 200,
        "put": 403,
        "delete": 403,
    }


def test_the_last_use_of_a_token_is_written_once_a_minute(django_assert_num_queries):
    secret = tokens.create_token("ci", ["view"], created_by="alice")
    request_with_token(secret)
    first = ApiToken.objects.get().last_used_at
    request_with_token(secret)
    assert first is not None
    assert ApiToken.objects.get().last_used_at == first


def test_an_unknown_or_revoked_token_returns_401():
    secret = tokens.create_token("ci", ["view"], created_by="alice")
    token = ApiToken.objects.get()
    assert token.revoke(by="bob")
    assert not token.revoke(by="carol")
    assert ApiToken.objects.get().revoked_by == "bob"
    for bad in (secret, "oro_x", "", "é"):
        answer = request_with_token(bad)
        assert (answer.status_code, answer.json()["error"]) == (401, "not_authenticated")
        assert answer["WWW-Authenticate"].startswith("Bearer")


def test_many_requests_with_an_unknown_token_are_refused_and_others_are_not(monkeypatch):
    monkeypatch.setattr(MinuteThrottle, "cache", LocMemCache("bad-tokens", {}))
    MinuteThrottle.cache.clear()  # mutmut runs a test twice in one process
    valid = tokens.create_token("ci", ["view"], created_by="ann")
    answers = [request_with_token("oro_unknown") for _ in range(61)]
    assert [answer.status_code for answer in answers] == [*[401] * 60, 429]
    assert answers[-1].json()["error"] == "too_many_requests"
    assert "with an unknown token" in answers[-1].json()["detail"]
    assert "unknown, revoked or expired" in answers[0].json()["detail"]
    assert 0 < int(answers[-1]["Retry-After"]) <= 60
    assert request_with_token(valid).status_code == 200
    elsewhere = request_with_token("oro_unknown", REMOTE_ADDR="203.0.113.9")
    assert elsewhere.status_code == 401


def test_an_expired_token_returns_401():
    secret = tokens.create_token("ci", ["view"], created_by="a", lifetime=timedelta(days=1))
    assert request_with_token(secret).status_code == 200
    ApiToken.objects.update(expires_at=ClockTimestamp())
    assert request_with_token(secret).status_code == 401


@pytest.mark.parametrize(
    ("change", "statuses"),
    [
        (lambda owner: None, {"get": 200, "post": 200, "put": 200}),
        (lambda owner: owner.groups.set([]), {"get": 403, "post": 403, "put": 403}),
        (
            lambda owner: owner.groups.set([Group.objects.create(name="viewer")]),
            {"get": 200, "post": 403, "put": 403},
        ),
        (
            lambda owner: User.objects.filter(pk=owner.pk).update(is_active=False),
            {"get": 403, "post": 403, "put": 403},
        ),
        (lambda owner: owner.delete(), {"get": 403, "post": 403, "put": 403}),
    ],
    ids=["unchanged", "without-groups", "demoted", "deactivated", "deleted"],
)
def test_a_token_never_exceeds_what_its_owner_may_do_now(change, statuses):
    owner = UserFactory(groups=["operator"])
    secret = tokens.create_token(
        "ci", list(permissions.ABILITIES), created_by=owner.username, owner=owner
    )
    change(owner)
    answers = {method: request_with_token(secret, method).status_code for method in statuses}
    assert answers == statuses


def test_a_token_with_an_unknown_ability_or_a_taken_name_is_refused():
    tokens.create_token("ci", ["view"], created_by="alice")
    for name, abilities in (("ci", ["view"]), ("other", ["root"])):
        with pytest.raises(IntegrityError), transaction.atomic():
            tokens.create_token(name, abilities, created_by="alice")


# --- browsers


def log_in(*groups, **user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(UserFactory(groups=groups, **user))
    return client


@pytest.mark.parametrize(
    ("groups", "abilities"),
    [
        ((), []),
        (("viewer",), ["view"]),
        (("approver",), ["approve", "hold", "view"]),
        (("operator",), ["approve", "hold", "operate", "view"]),
        (("viewer", "approver"), ["approve", "hold", "view"]),
        (("strangers",), []),
    ],
)
def test_a_group_gives_its_users_their_abilities(groups, abilities):
    assert sorted(permissions.get_abilities(UserFactory(groups=groups))) == abilities


def test_a_superuser_has_all_abilities_and_an_inactive_user_none():
    assert len(permissions.get_abilities(UserFactory(is_superuser=True))) == 4
    inactive = UserFactory(is_active=False, is_superuser=True, groups=["operator"])
    assert not permissions.get_abilities(inactive)


def post_json(client, token):
    headers = {"x-csrftoken": token}
    return client.post("/api/who", headers=headers, content_type="application/json")


def test_a_session_needs_a_csrf_token_to_write():
    client = log_in("operator", username="olga")
    assert client.get("/api/who").json() == {"actor": "olga"}
    forged = client.post("/api/who")
    assert (forged.status_code, forged.json()["error"]) == (403, "forbidden")
    client.get("/admin/password_change/")
    token = client.cookies[settings.CSRF_COOKIE_NAME].value
    assert post_json(client, token).status_code == 200


def test_an_anonymous_browser_is_redirected_to_the_login():
    answer = Client().get("/api/who?a=b", headers=BROWSER)
    assert answer.status_code == 302
    assert answer["Location"] == "/admin/login/?next=%2Fapi%2Fwho%3Fa%3Db"
    assert Client().post("/api/who", headers=BROWSER).status_code == 401
    assert Client().get("/api/who").status_code == 401


def test_a_browser_without_permission_returns_403_and_no_login():
    client = log_in()
    assert client.get("/api/who", headers=BROWSER).status_code == 403


def test_an_operator_in_a_browser_sees_the_browsable_api():
    answer = log_in("operator").get("/api/who", headers=BROWSER)
    assert answer.status_code == 200
    assert b"<html" in answer.content


def addresses(resolver, prefix=""):
    for entry in resolver.url_patterns:
        if hasattr(entry, "url_patterns"):
            yield from addresses(entry, prefix + str(entry.pattern))
        else:
            yield "/" + re.sub(r"<[^>]*>", "1", prefix + str(entry.pattern))


def test_every_address_of_the_api_returns_401_to_anonymous_requests():
    asked = [address for address in addresses(get_resolver()) if address.startswith("/api/")]
    assert {"/api/runs", "/api/schema/", "/api/docs/"} <= set(asked)
    for address in asked:
        for method in ("get", "post", "put", "patch", "delete"):
            assert (address, getattr(Client(), method)(address).status_code) == (address, 401)


def test_health_needs_no_authentication():
    for name in ("health", "healthz", "readyz"):
        assert Client().get(f"/{name}").json() == {"status": "ok"}
        assert Client().post(f"/{name}").status_code == 405


def test_an_application_is_let_through_by_the_address_that_is_resolved(monkeypatch):
    monkeypatch.setattr(authentication, "is_from_application", lambda meta: True)
    answer = authentication.refuse_applications(lambda request: HttpResponse(status=200))
    for prefix, address, status in (
        ("/api", "/admin/login/", 403),
        ("", "/api/runs", 200),
        ("/elsewhere", "/api/runs", 200),
    ):
        request = RequestFactory(SCRIPT_NAME=prefix, HTTP_AUTHORIZATION="Bearer x")
        assert answer(request.post(address)).status_code == status, (prefix, address)
