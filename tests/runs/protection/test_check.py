"""Who sees a protected preview: the control plane's answers to the router."""

from copy import copy
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from django.conf import settings as conf
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client

from accounts.models import ApiToken, AuditEntry
from accounts.tokens import create_token, rotate_token
from core.clock import ClockTimestamp
from host import config as configuration
from host.app.resources import user_header
from runs.models import PreviewVisit, ShareLink
from runs.protection.check import CHECK_PATH, sign_user
from tests.factories import LeaseFactory, ShareLinkFactory, SlotFactory, UserFactory
from web.permissions import RunLimits

pytestmark = pytest.mark.django_db
PAGE = {"accept": "text/html", "sec-fetch-mode": "navigate"}


@pytest.fixture(autouse=True)
def protected(settings):
    settings.OROBOROS = replace(
        settings.OROBOROS,
        environ={**settings.OROBOROS.environ, "PREVIEW_PROTECTION": "protected"},
    )


def hold_slot(number, branch):
    lease = LeaseFactory(held=True, slot=SlotFactory(number=number), run__branch=branch)
    return lease.run


class Browser:
    """A browser at a preview behind the router: what it keeps, and what it is sent."""

    def __init__(self, run, slot):
        self.host = f"{run.label}.preview.localhost"
        self.slot, self.cookies = slot, {}

    def open(self, uri="/", method="GET", host=None, slot=None, **headers):
        sent = {
            "x-oroboros-host": f"{host or self.host}:8088",
            "x-oroboros-slot": self.slot if slot is None else slot,
            "x-forwarded-method": method,
            "x-forwarded-uri": uri,
            "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **headers,
        }
        response = Client().get(CHECK_PATH, headers=sent)
        for name, morsel in response.cookies.items():
            assert (morsel["httponly"], morsel["samesite"]) == (True, "Lax")
            assert (morsel["domain"], morsel["path"]) == ("", "/")
            self.cookies[name] = morsel.value
        return response

    def log_in(self, person, uri="/"):
        """Follow the redirects of a person who is logged in; return the address with the ticket."""
        response = self.open(uri, **PAGE)
        assert response.status_code == 302, response.content
        answer = person.get(response["Location"], headers={"sec-fetch-site": "cross-site"})
        parts = urlsplit(answer["Location"])
        assert parts.netloc == f"{self.host}:{conf.OROBOROS.router_port}"
        return f"{parts.path}?{parts.query}"


@pytest.fixture
def run():
    return hold_slot(1, "feature/one")


@pytest.fixture
def browser(run):
    return Browser(run, "1")


def log_in(role="viewer"):
    person = Client()
    person.force_login(UserFactory(username=f"{role}-1", groups=[role]))
    return person


def test_a_stranger_gets_nothing_but_the_way_to_the_login(browser):
    response = browser.open("/page?x=1", **PAGE)
    parts = urlsplit(response["Location"])
    assert (response.status_code, parts.path) == (302, "/previews/enter")
    assert parse_qs(parts.query)["to"] == ["/page?x=1"]
    login = Client().get(response["Location"])
    assert login.status_code == 302 and login["Location"].startswith("/admin/login/?next=/previews")
    for method, headers in (("POST", PAGE), ("GET", {}), ("GET", {"service-worker": "script"})):
        refusal = browser.open("/page", method, **headers)
        assert (refusal.status_code, "Location" in refusal) == (401, False)
        assert refusal["Cache-Control"] == "no-store" and b"X-Oroboros-Bypass" in refusal.content


def test_a_viewer_comes_back_to_the_page_and_gets_in_once_for_each_ticket(browser):
    address = browser.log_in(log_in(), "/page?x=1&y=%20")
    stranger = replace_cookies(browser)
    assert stranger.open(address, **PAGE).status_code == 403  # the ticket without its browser
    response = browser.open(address, **PAGE)
    origin = f"http://{browser.host}:{conf.OROBOROS.router_port}"
    assert (response.status_code, response["Location"]) == (302, f"{origin}/page?x=1&y=%20")
    assert browser.open("/page", "POST").status_code == 204
    replayed = replace_cookies(browser)
    replayed.cookies = {"oroboros_entry": browser.cookies["oroboros_entry"]}
    assert replayed.open(address, **PAGE).status_code == 403
    assert replayed.open("/").status_code == 401


@pytest.mark.parametrize(("length", "is_kept"), [(600, True), (3900, False)])
def test_the_log_in_leads_back_to_a_long_address_or_to_the_start_page(
    browser, settings, length, is_kept
):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = UserFactory(username="olga", groups=["viewer"])
    user.set_password("the-right-one")
    user.save()
    uri = f"/page?x={'%2F' * (length // 3)}"
    person = Client()
    login = person.get(browser.open(uri, **PAGE)["Location"])["Location"]
    answer = person.post(login, {"username": "olga", "password": "the-right-one"})
    ticket = urlsplit(person.get(answer["Location"])["Location"])
    assert ticket.hostname == browser.host
    response = browser.open(f"{ticket.path}?{ticket.query}", **PAGE)
    origin = f"http://{browser.host}:{conf.OROBOROS.router_port}"
    assert response["Location"] == origin + (uri if is_kept else "/")


def test_only_with_the_setting_a_preview_is_told_which_person_looks(browser, run, settings):
    browser.open(browser.log_in(log_in()), **PAGE)
    assert "X-Oroboros-User" not in browser.open()
    config = settings.OROBOROS
    settings.OROBOROS = replace(config, environ={**config.environ, "PREVIEW_USER_HEADER": "true"})
    key = user_header.derive_key(settings.SECRET_KEY, str(run.pk))
    value = browser.open()["X-Oroboros-User"]
    claims = jwt.decode(value, key, ["HS256"], audience=browser.host)
    assert claims["sub"] == "viewer-1"
    link = Browser(run, "1")
    ShareLinkFactory(run=run, secret="a-secret-of-this-test")
    link.open("/?oroboros_share=a-secret-of-this-test", **PAGE)
    answer = link.open()
    assert (answer.status_code, "X-Oroboros-User" in answer) == (204, False)


def test_the_header_names_the_visitor_for_one_host_name_and_a_minute():
    key = user_header.derive_key("s" * 40, "one")
    value = sign_user("véra", host="one.preview.oro.test", key=key, at=1000.7)
    assert value.isascii()
    options = {"verify_exp": False}
    assert jwt.decode(value, key, ["HS256"], options, audience="one.preview.oro.test") == {
        "sub": "véra",
        "aud": "one.preview.oro.test",
        "iat": 1000,
        "exp": 1060,
    }
    with pytest.raises(jwt.InvalidSignatureError):
        other = user_header.derive_key("s" * 40, "two")
        jwt.decode(value, other, ["HS256"], options, audience="one.preview.oro.test")
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(value, key, ["HS256"], options, audience="two.preview.oro.test")


def test_a_ticket_or_a_cookie_of_another_preview_is_refused(browser, run):
    other_run = hold_slot(2, "feature/two")
    other = Browser(other_run, "2")
    address = browser.log_in(log_in())
    other.open("/", **PAGE)
    # Also with the cookies of the browser that the ticket is for.
    other.cookies = dict(browser.cookies)
    assert other.open(address, **PAGE).status_code == 403
    assert browser.open(address, **PAGE).status_code == 302
    other.cookies = dict(browser.cookies)
    assert other.open().status_code == 401
    # The same host name, once its slot shows another run.
    assert browser.open(slot="2").status_code == 401
    assert browser.open(slot="").status_code == 401


def test_a_ticket_expires(browser):
    address = browser.log_in(log_in())
    PreviewVisit.objects.update(expires_at=ClockTimestamp() - timedelta(seconds=1))
    assert browser.open(address, **PAGE).status_code == 403


@pytest.mark.parametrize("end", ["disabled", "no role", "password", "logged out"])
def test_access_ends_at_once_with_the_account_its_role_or_its_login(browser, end):
    person = log_in()
    browser.open(browser.log_in(person), **PAGE)
    assert browser.open().status_code == 204
    user = User.objects.get(username="viewer-1")
    if end == "disabled":
        User.objects.update(is_active=False)
    elif end == "no role":
        user.groups.clear()
    elif end == "password":
        user.set_password("another-password-than-before")
        user.save()
    else:
        person.post("/admin/logout/")
    assert browser.open().status_code == 401


def test_an_account_without_a_role_gets_no_ticket(browser):
    person = Client()
    person.force_login(UserFactory(is_staff=False))
    response = browser.open(**PAGE)
    assert person.get(response["Location"]).status_code == 403
    assert not PreviewVisit.objects.exists()


def test_no_ticket_leads_to_another_host(run):
    person = log_in()
    for host in ("evil.example", "api.localhost", f"{run.label}.preview.localhost.evil.example"):
        query = {"host": host, "slot": "1", "nonce": "0" * 64, "to": "/"}
        assert person.get("/previews/enter", query).status_code == 400, host


def share(run, actor=None, **body):
    person = actor or log_in("approver")
    address = f"/api/runs/{run.pk}/share-links"
    token = create_token("sharer", ["view", "hold"], created_by="ann")
    headers = {"authorization": f"Bearer {token}"}
    response = person.post(address, body, content_type="application/json", headers=headers)
    assert response.status_code == 201, response.content
    data = response.json()
    parts = urlsplit(data["url"])
    assert parts.hostname == f"{run.label}.preview.localhost"
    return data, f"{parts.path}?{parts.query}", headers


def test_a_share_link_shows_its_run_and_no_other_until_it_is_revoked(browser, run):
    other = Browser(hold_slot(2, "feature/two"), "2")
    data, address, headers = share(run, hours=2, note="for the customer")
    assert other.open(address, **PAGE).status_code == 403
    assert browser.open(address, **PAGE).status_code == 302
    assert browser.open().status_code == 204
    other.cookies = dict(browser.cookies)
    assert other.open().status_code == 401
    assert browser.open(slot="2").status_code == 401  # the slot was given to another run
    listed = Client().get(f"/api/runs/{run.pk}/share-links", headers=headers).json()["results"]
    assert [(one["id"], one["note"], "url" in one) for one in listed] == [
        (data["id"], "for the customer", False)
    ]
    revoked = Client().post(
        f"/api/runs/{run.pk}/share-links/{data['id']}/revoke",
        {},
        content_type="application/json",
        headers=headers,
    )
    assert revoked.json()["revoked_by"] == "token sharer"
    assert browser.open().status_code == 401
    assert browser.open(address, **PAGE).status_code == 403


def change_each_part(text):
    """Yield the text with a character changed at its begin, in its middle and at its end."""
    for place in (0, len(text) // 2, len(text) - 1):
        other = "a" if text[place] != "a" else "b"
        yield text[:place] + other + text[place + 1 :]


ODD_SECRETS = ["", "0", "null", "%00", "%ff", "..%2f", "a" * 4000, "' OR 1=1 --", "é"]


@pytest.mark.parametrize("name", ["oroboros_ticket", "oroboros_share", "oroboros_bypass"])
def test_a_guessed_or_changed_secret_shows_nothing(browser, run, name):
    _, share_address, _ = share(run)
    secrets = {
        "oroboros_ticket": browser.log_in(log_in()).rpartition("=")[2],
        "oroboros_share": share_address.rpartition("=")[2],
        "oroboros_bypass": create_token("e2e", ["preview"], created_by="ann"),
    }
    for secret in (*change_each_part(secrets[name]), *ODD_SECRETS):
        assert browser.open(f"/?{name}={secret}", **PAGE).status_code == 403, secret
        assert browser.open().status_code == 401, secret
    assert browser.open(f"/?{name}={secrets[name]}", **PAGE).status_code == 302
    assert browser.open().status_code == 204


def test_a_changed_cookie_or_one_that_was_signed_for_something_else_shows_nothing(browser):
    browser.open(browser.log_in(log_in()), **PAGE)
    cookie = browser.cookies["oroboros_preview"]
    kind, key, host = cookie.rpartition(":")[0].rpartition(":")[0].split(".", 2)
    foreign = signing.TimestampSigner(salt="another").sign(f"{kind}.{key}.{host}")
    for other in (*change_each_part(cookie), f"{kind}.{key}.{host}", foreign, "", "x" * 5000):
        browser.cookies["oroboros_preview"] = other
        assert browser.open().status_code == 401, other
    browser.cookies["oroboros_preview"] = cookie
    assert browser.open().status_code == 204


def test_a_ticket_of_one_person_makes_no_visit_of_another(browser):
    """Nor does it replace the visit of a browser whose person is logged in already."""
    mine = browser.log_in(log_in())
    other = replace_cookies(browser)
    person = Client()
    person.force_login(UserFactory(username="mallory", groups=["viewer"]))
    theirs = other.log_in(person)
    assert browser.open(theirs, **PAGE).status_code == 403  # sent to me by mallory
    assert other.open(mine, **PAGE).status_code == 403  # stolen by mallory
    assert browser.open(mine, **PAGE).status_code == 302
    visits = PreviewVisit.objects.exclude(begun_at=None)
    assert [visit.user.username for visit in visits] == ["viewer-1"]


def replace_cookies(browser):
    """Return another browser at the same preview, which has no cookie of ours."""
    other = copy(browser)
    other.cookies = {}
    return other


def test_a_share_link_expires(browser, run):
    _, address, _ = share(run)
    browser.open(address, **PAGE)
    past = ClockTimestamp() - timedelta(days=1)
    ShareLink.objects.update(created_at=past - timedelta(days=1), expires_at=past)
    assert browser.open().status_code == 401
    assert browser.open(address, **PAGE).status_code == 403


def test_a_bypass_token_shows_the_previews_of_its_limits(browser, run):
    hold_slot(2, "feature/two")
    limits = RunLimits(("feature/one",))
    token = create_token("e2e", ["preview"], created_by="ann", limits=limits)
    assert browser.open("/x", "POST", **{"x-oroboros-bypass": token}).status_code == 204
    assert browser.open(slot="2", **{"x-oroboros-bypass": token}).status_code == 401
    assert browser.open(**{"x-oroboros-bypass": "oro_wrong"}).status_code == 401
    assert browser.open(f"/?oroboros_bypass={token}", "POST").status_code == 401
    assert browser.open().status_code == 401
    assert browser.open(f"/?a=b&oroboros_bypass={token}").status_code == 302
    assert browser.open().status_code == 204
    ApiToken.objects.get(name="e2e").revoke(by="ann")
    assert browser.open().status_code == 401


def test_a_bypass_token_from_a_new_address_is_on_the_audit_trail(browser, run):
    token = create_token("e2e", ["preview"], created_by="ann")
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"):
        headers = {"x-oroboros-bypass": token, "x-forwarded-for": address, "user-agent": "e2e/1"}
        assert browser.open(**headers).status_code == 204
    found = AuditEntry.objects.filter(kind="token_new_address").order_by("id")
    assert list(found.values_list("actor", "address", "agent", "target")) == [
        ("token e2e", "192.0.2.1", "e2e/1", "e2e"),
        ("token e2e", "192.0.2.2", "e2e/1", "e2e"),
    ]


def test_a_cookie_that_a_secret_made_ends_with_that_secret(browser, run):
    secret = create_token("e2e", ["preview"], created_by="ann")
    assert browser.open(f"/?oroboros_bypass={secret}").status_code == 302
    assert browser.open().status_code == 204
    token = ApiToken.objects.get(name="e2e")
    rotate_token(token, lifetime=None, grace=timedelta(hours=1))
    assert browser.open().status_code == 204
    ApiToken.objects.update(previous_expires_at=ClockTimestamp() - timedelta(seconds=1))
    assert browser.open().status_code == 401


def test_a_token_without_the_ability_shows_no_preview(browser):
    token = create_token("ci", ["hold"], created_by="ann")
    assert browser.open(**{"x-oroboros-bypass": token}).status_code == 401


def test_a_preflight_of_an_allowed_origin_needs_no_access_and_reads_refusals(browser):
    origin = {"origin": "https://app.example.com"}
    preflight = {**origin, "access-control-request-method": "POST"}
    assert browser.open("/api/x", "OPTIONS", **preflight).status_code == 204
    foreign = {**preflight, "origin": "https://evil.example"}
    assert browser.open("/api/x", "OPTIONS", **foreign).status_code == 401
    refusal = browser.open("/api/x", "POST", **origin)
    assert refusal["Access-Control-Allow-Origin"] == "https://app.example.com"


def test_previews_are_protected_by_default_where_they_are_served_over_https():
    def is_protected(**values):
        return configuration.load(values).is_protected

    assert not is_protected()
    assert is_protected(OROBOROS_HTTPS="true")
    assert is_protected(PREVIEW_PROTECTION="protected")
    assert not is_protected(OROBOROS_HTTPS="true", PREVIEW_PROTECTION="open")
