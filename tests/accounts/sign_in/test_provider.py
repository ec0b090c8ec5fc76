"""Signing in through a real OpenID Connect provider."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.utils import timezone

from accounts.login_throttle import count_attempt
from accounts.models import AuditEntry, LoginAttempt
from accounts.sign_in.sessions import remove_expired
from accounts.user_forms import get_role
from tests.accounts.sign_in.conftest import Browser, log_in, read_query
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def read_audit():
    rows = AuditEntry.objects.order_by("id").values_list("kind", "target", "detail")
    return [" ".join(row) for row in rows]


def test_without_settings_there_is_no_way_to_a_provider(browser):
    assert b"Log in with" not in browser.get("/admin/login/").content
    assert browser.post("/admin/account/sign-in/").status_code == 404
    assert browser.get("/admin/account/sign-in/callback/?code=a&state=b").status_code == 404


def test_a_person_of_a_group_gets_an_account_with_its_role_and_the_page_asked_for(
    provider, browser
):
    provider.set_person("rita", ["reviewers", "other"])
    page = browser.get("/admin/login/?next=/admin/runs/run/")
    assert b"Log in with Example SSO" in page.content
    assert b'name="next" value="/admin/runs/run/"' in page.content
    answer = browser.sign_in("rita", next="/admin/runs/run/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/runs/run/")
    rita = User.objects.get(username="rita")
    assert (get_role(rita), rita.is_staff, rita.is_superuser) == ("approver", True, False)
    assert (rita.email, rita.has_usable_password()) == ("rita@example.org", False)
    assert browser.person == "rita"
    assert browser.get("/admin/runs/run/").status_code == 200
    assert read_audit() == [
        "user_edited rita role none -> approver, by the provider's groups",
        "user_edited rita created",
        "sign_in rita socialaccount",
    ]
    assert not LoginAttempt.objects.exists()


def test_the_request_to_the_provider_has_state_nonce_and_challenge(provider, browser):
    query = read_query(browser.begin())
    assert (query["client_id"], query["response_type"]) == ("oroboros", "code")
    assert query["redirect_uri"] == "http://testserver/admin/account/sign-in/callback/"
    assert query["code_challenge_method"] == "S256"
    assert all(query[name] for name in ("state", "nonce", "code_challenge"))
    # Nothing that a page could add to the form changes it.
    other = read_query(browser.begin(scope="admin", auth_params="redirect_uri=https://evil.test"))
    assert (other["redirect_uri"], other["scope"]) == (query["redirect_uri"], query["scope"])


def test_a_group_taken_away_is_taken_away_at_the_next_sign_in(provider, browser):
    provider.set_person("rita", ["ops"])
    browser.sign_in("rita")
    assert get_role(User.objects.get(username="rita")) == "operator"
    provider.set_person("rita", ["staff"])
    other = Browser()
    other.sign_in("rita")
    rita = User.objects.get(username="rita")
    assert get_role(rita) == "viewer"
    assert browser.get("/api/audit").status_code == 403  # the first session at once
    provider.set_person("rita", [])
    answer = Browser().sign_in("rita")
    assert (answer.status_code, b"in none of the groups" in answer.content) == (403, True)
    rita.refresh_from_db()
    assert (get_role(rita), rita.is_staff) == ("", False)
    assert (browser.person, other.person) == ("", "")
    assert read_audit()[-1] == "sign_in_failed rita no_role"


def test_a_session_ends_so_many_hours_after_the_sign_in_whatever_it_does(provider, browser):
    provider.set_person("rita", ["staff"])
    browser.sign_in("rita")
    key = browser.session.session_key
    end = Session.objects.get(pk=key).expire_date
    assert timedelta(hours=11.9) < end - timezone.now() < timedelta(hours=12.1)
    browser.get("/admin/account/")
    browser.post("/admin/account/", {"session": "others"})  # it writes to the session
    assert Session.objects.get(pk=key).expire_date == end


def test_a_person_without_a_group_gets_no_account(provider, browser):
    provider.set_person("eve", ["other"])
    answer = browser.sign_in("eve")
    assert answer.status_code == 403
    assert not User.objects.exists()
    assert not SocialAccount.objects.exists()
    assert read_audit() == ["sign_in_failed an unknown account no_role"]


@pytest.mark.parametrize(
    ("name", "email", "is_verified", "code"),
    [
        ("olga", "", True, "account_exists"),
        ("OLGA", "", True, "account_exists"),
        ("eve", "Olga@example.org", True, "account_exists"),
        ("host", "", True, "name_refused"),
    ],
)
def test_an_account_of_that_name_or_address_is_not_taken_over(
    provider, browser, name, email, is_verified, code
):
    UserFactory(username="olga", email="olga@example.org", groups=["operator"])
    provider.set_person(
        "eve", ["ops"], is_verified=is_verified, preferred_username=name, email=email
    )
    assert browser.sign_in("eve").status_code == 403
    assert browser.person == ""
    assert not SocialAccount.objects.exists()
    assert read_audit() == [f"sign_in_failed an unknown account {code}"]


def test_an_unverified_address_is_not_stored(provider, browser):
    UserFactory(username="olga", email="olga@example.org")
    provider.set_person("eve", ["ops"], is_verified=False, email="olga@example.org")
    browser.sign_in("eve")
    assert User.objects.get(username="eve").email == ""


def test_the_account_follows_the_subject_and_not_the_name(provider, browser):
    provider.set_person("s-1", ["staff"], preferred_username="rita")
    browser.sign_in("s-1")
    provider.set_person("s-2", ["ops"], preferred_username="rita")
    assert Browser().sign_in("s-2").status_code == 403
    provider.set_person("s-1", ["staff"], preferred_username="rita-renamed")
    other = Browser()
    other.sign_in("s-1")
    assert other.person == "rita"
    assert SocialAccount.objects.count() == 1


def test_another_issuer_has_other_people(provider, browser, settings):
    provider.set_person("rita", ["staff"])
    browser.sign_in("rita")
    SocialAccount.objects.update(provider="oidc-of-the-issuer-before")
    assert Browser().sign_in("rita").status_code == 403


def test_a_superusers_account_is_not_connected_and_a_locals_is_after_a_confirmation(
    provider, browser, olga
):
    provider.set_person("rita", ["staff"])
    log_in(browser)
    answer = browser.sign_in("rita", connect="1")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/account/")
    assert SocialAccount.objects.get().user == olga
    assert get_role(olga) == "viewer"
    other = Browser()
    other.sign_in("rita")
    assert other.person == "olga"
    User.objects.filter(pk=olga.pk).update(is_superuser=True)
    assert browser.sign_in("rita", connect="1").status_code == 403


def connect(browser, sub="rita"):
    log_in(browser)
    assert browser.sign_in(sub, connect="1")["Location"] == "/admin/account/"


def test_who_is_removed_at_the_provider_does_not_go_on_with_the_password(provider, browser, olga):
    provider.set_person("rita", ["ops"])
    other = Browser()
    log_in(other)
    connect(browser)
    assert (browser.person, other.person) == ("olga", "")
    left = Session.objects.get(pk=browser.session.session_key).expire_date - timezone.now()
    assert left < timedelta(hours=12.1)
    entry = AuditEntry.objects.get(detail="connected")
    assert (entry.kind, entry.actor, entry.target) == ("user_edited", "olga", "olga")
    provider.set_person("rita", [])
    stranger = Browser()
    answer = log_in(stranger)
    assert (answer.status_code, b"log in through the provider" in answer.content) == (200, True)
    assert stranger.person == ""
    assert read_audit()[-1] == "sign_in_failed olga connected"


def test_a_connected_account_that_became_a_superusers_logs_in_with_its_password_only(
    provider, browser, olga
):
    provider.set_person("rita", ["ops"])
    connect(browser)
    User.objects.update(is_superuser=True)
    other = Browser()
    assert (other.sign_in("rita").status_code, other.person) == (403, "")
    assert read_audit()[-1] == "sign_in_failed olga superuser"
    log_in(other)
    assert other.person == "olga"


@pytest.mark.parametrize(("group", "is_recent"), [("none", True), ("staff", False)])
def test_a_connection_that_is_not_made_changes_no_role(provider, browser, olga, group, is_recent):
    provider.set_person("rita", [group])
    log_in(browser)
    address = browser.confirm(browser.begin(connect="1"), "rita")
    if not is_recent:
        session = browser.session
        session["account_authentication_methods"] = [{"method": "password", "at": 1}]
        session.save()
    assert browser.get(address).status_code == 403
    assert not SocialAccount.objects.exists()
    olga.refresh_from_db()
    assert (get_role(olga), olga.is_staff, browser.person) == ("operator", True, "olga")


def test_a_connection_of_a_session_that_ended_meanwhile_is_refused(provider, browser, olga):
    provider.set_person("rita", ["staff"])
    log_in(browser)
    address = browser.confirm(browser.begin(connect="1"), "rita")
    session = browser.session
    del session["_auth_user_id"]
    session.save()
    assert browser.get(address).status_code == 403
    assert not SocialAccount.objects.exists()


def test_an_answer_of_another_browser_or_a_used_one_is_refused(provider, browser):
    provider.set_person("rita", ["staff"])
    provider.set_person("eve", ["staff"])
    address = browser.confirm(browser.begin(), "rita")
    victim = Browser()
    assert victim.get(address).status_code == 403  # a log-in of another in one's browser
    assert victim.person == ""
    victim.begin()
    assert victim.get(address).status_code == 403
    assert browser.get(address).status_code == 302
    browser.logout()
    assert browser.get(address).status_code == 403
    # The code of another sign-in with one's own state: its ID token has another nonce.
    stolen = read_query(Browser().confirm(Browser().begin(), "eve"))["code"]
    state = read_query(browser.begin())["state"]
    answer = browser.get(f"/admin/account/sign-in/callback/?code={stolen}&state={state}")
    assert (answer.status_code, browser.person) == (403, "")
    assert read_audit()[-1] == "sign_in_failed an unknown account provider_unknown"


def test_the_key_of_the_session_changes_with_the_sign_in(provider, browser):
    provider.set_person("rita", ["staff"])
    address = browser.confirm(browser.begin(), "rita")
    before = browser.session.session_key
    browser.get(address)
    assert browser.session.session_key != before
    assert not Session.objects.filter(pk=before).exists()


@pytest.mark.parametrize(
    "address", ["https://evil.test/", "//evil.test/", "http:evil.test", "https://api.example.com/"]
)
def test_no_sign_in_leads_to_another_host(provider, browser, olga, address):
    provider.set_person("rita", ["staff"])
    assert browser.sign_in("rita", next=address)["Location"] == "/admin/"
    assert log_in(Browser(), next=address)["Location"] == "/admin/"


def test_a_person_who_is_switched_off_stays_out(provider, browser):
    provider.set_person("rita", ["staff"])
    browser.sign_in("rita")
    User.objects.update(is_active=False)
    answer = Browser().sign_in("rita")
    assert (answer.status_code, b"switched off" in answer.content) == (403, True)


def test_a_provider_that_does_not_answer_or_is_another_one_is_named(
    provider, browser, settings, caplog
):
    wrong = replace(settings.SIGN_IN.provider, issuer="http://localhost:1")
    settings.SIGN_IN = replace(settings.SIGN_IN, provider=wrong)
    page = browser.post("/admin/account/sign-in/")
    assert (page.status_code, b"The provider cannot be used now" in page.content) == (503, True)
    assert b"localhost:1" not in page.content
    assert "localhost" in caplog.text
    other = replace(wrong, issuer=f"{provider.url}/")
    settings.SIGN_IN = replace(settings.SIGN_IN, provider=other)
    page = browser.post("/admin/account/sign-in/")
    assert (page.status_code, b"calls itself" in page.content) == (503, False)
    assert "calls itself" in caplog.text


@pytest.mark.parametrize("document", [{}, [], None, {"keys": 1}, {"keys": ["x"]}])
def test_malformed_documents_of_the_provider_are_refused(
    provider, browser, settings, monkeypatch, document
):
    provider.set_person("rita", ["staff"])
    address = browser.confirm(browser.begin(), "rita")
    cache.clear()
    good = requests.Session.get

    def get(session, url, **options):
        response = good(session, url, **options)
        is_keys = isinstance(document, dict) and "keys" in document
        if is_keys is ("jwks" in url):
            response._content = json.dumps(document).encode()
        return response

    monkeypatch.setattr(requests.Session, "get", get)
    answer = browser.get(address)
    assert (answer.status_code in (403, 503), b"did not confirm" in answer.content) == (True, True)
    assert browser.person == ""


def test_the_worker_removes_what_is_left_of_sessions_that_are_over(browser, olga):
    log_in(browser)
    other = Browser()
    log_in(other)
    Session.objects.filter(pk=other.session.session_key).update(expire_date=timezone.now())
    remove_expired(None)
    assert Session.objects.get().pk == UserSession.objects.get().session_key
    assert browser.person == "olga"


def test_failed_answers_of_the_provider_are_throttled_by_address(provider, browser):
    for number in range(19):
        count_attempt(f"account-{number}", "127.0.0.1")
    states = [read_query(browser.begin())["state"] for _ in range(2)]
    address = "/admin/account/sign-in/callback/?code=a&state="
    assert [browser.get(address + one).status_code for one in states] == [403, 429]


def test_answers_that_belong_to_no_sign_in_of_the_browser_close_no_log_ins(provider, browser):
    state = read_query(Browser().begin())["state"]
    for query in (f"code=a&state={state}", "code=a&state=x", "code=a", "error=access_denied", ""):
        answer = browser.get(f"/admin/account/sign-in/callback/?{query}")
        assert (answer.status_code, b"did not confirm" in answer.content) == (403, True)
    assert not LoginAttempt.objects.exists()
    assert read_audit()[-1] == "sign_in_failed an unknown account provider_unknown"


def test_the_log_has_the_cause_of_a_refused_answer(provider, browser, caplog):
    stolen = read_query(Browser().confirm(Browser().begin(), "rita"))["code"]
    state = read_query(browser.begin())["state"]
    browser.get(f"/admin/account/sign-in/callback/?code={stolen}&state={state}")
    assert "the provider's answer is refused (unknown): " in caplog.text
    assert "the provider's answer is refused (unknown): None" not in caplog.text


def test_passwords_switched_off_leave_the_provider(provider, browser, olga, settings):
    settings.SIGN_IN = replace(settings.SIGN_IN, has_passwords=False)
    page = browser.get("/admin/login/").content
    assert (b'type="password"' in page, b"Log in with Example SSO" in page) == (False, True)
    page = log_in(browser)
    assert (page.status_code, b"Passwords are switched off" in page.content) == (200, True)
    assert browser.person == ""
    assert read_audit() == ["sign_in_failed olga passwords_off"]
    provider.set_person("rita", ["staff"])
    browser.sign_in("rita")
    assert browser.person == "rita"
