"""Second factors: set up, asked for, lost, guessed, replayed, required, and gone around."""

import base64
from dataclasses import replace
from io import StringIO
from urllib.parse import unquote

import pytest
from allauth.core.context import request_context
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.core.management import CommandError, call_command

from accounts.models import AuditEntry, LoginAttempt
from accounts.sign_in.forms import KeyAgainForm, KeyForm
from accounts.sign_in.options import SignIn
from runs.models import PreviewVisit
from tests.accounts.sign_in.conftest import PASSWORD, Browser, log_in
from tests.factories import UserFactory
from tests.runs.conftest import together

pytestmark = pytest.mark.django_db
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FACTOR = "/admin/account/factor/"
ENTRY = f"/previews/enter?host=preview1.example.com&slot=1&nonce={'0' * 64}"


def make_code(steps=0):
    counter = next(totp.yield_hotp_counters_from_time()) + 1 + steps  # the tolerance is 1
    return totp.format_hotp_value(totp.hotp_value(SECRET, counter))


@pytest.fixture
def factor(olga):
    """The authenticator app of olga; returns her recovery codes."""
    totp.TOTP.activate(olga, SECRET)
    return RecoveryCodes.activate(olga).get_unused_codes()


def enter(browser, code):
    return browser.post(FACTOR, {"code": code})


def test_an_account_with_a_factor_is_logged_in_once_both_were_shown(browser, factor):
    answer = log_in(browser, next="/admin/runs/run/")
    assert (answer.status_code, answer["Location"]) == (302, FACTOR)
    assert browser.person == ""
    assert browser.get("/admin/")["Location"] == "/admin/login/?next=/admin/"
    assert b"authenticator code" in browser.get(FACTOR).content
    assert browser.get(FACTOR).status_code == 200
    before = browser.session.session_key
    answer = enter(browser, make_code())
    assert (answer.status_code, answer["Location"]) == (302, "/admin/runs/run/")
    assert (browser.person, browser.session.session_key != before) == ("olga", True)
    entry = AuditEntry.objects.get()
    assert (entry.kind, entry.detail) == ("sign_in", "password mfa")
    assert not LoginAttempt.objects.exists()


def test_the_provider_is_followed_by_the_factor_too(provider, browser, olga, factor, settings):
    key = settings.SIGN_IN.provider.key
    SocialAccount.objects.create(user=olga, provider=key, uid="olga-there")
    provider.set_person("olga-there", ["ops"])
    answer = browser.sign_in("olga-there", next="/admin/runs/run/")
    assert answer["Location"] == FACTOR
    assert browser.person == ""
    assert enter(browser, make_code())["Location"] == "/admin/runs/run/"
    assert browser.person == "olga"


def test_a_strangers_preview_is_entered_after_both(browser, factor):
    answer = browser.get(ENTRY)
    log_in_url = answer["Location"]
    assert log_in_url.startswith("/admin/login/?next=/previews/enter")
    browser.post(log_in_url, {"username": "olga", "password": PASSWORD})
    assert browser.get(ENTRY)["Location"].startswith("/admin/login/")  # no ticket in between
    assert not PreviewVisit.objects.exists()
    assert enter(browser, make_code())["Location"] == ENTRY
    assert "oroboros_ticket" in browser.get(ENTRY)["Location"]


def test_a_code_counts_once_in_every_process(browser, factor):
    code = make_code()
    log_in(browser)
    assert enter(browser, code).status_code == 302
    cache.clear()  # what allauth remembers is the process's own
    other = Browser()
    log_in(other)
    assert b"was used before" in enter(other, code).content
    assert b"was used before" in enter(other, make_code(-1)).content  # nor does an earlier one
    assert other.person == ""
    assert enter(other, make_code(+1)).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_of_parallel_uses_of_a_code_one_counts(olga):
    totp.TOTP.activate(olga, SECRET)
    # With the two log-ins four attempts, which the throttle allows also if all are counted first.
    browsers = [Browser() for _ in range(2)]
    for one in browsers:
        log_in(one)
    code = make_code()

    def use(one):
        cache.clear()
        return enter(one, code).status_code

    assert sorted(together(use, browsers)) == [200, 302]


def test_codes_are_throttled_with_the_passwords_and_a_password_gives_no_new_ones(browser, factor):
    for _ in range(2):
        log_in(browser)
    for guess in ("000000", "11111111", "222222"):
        assert b"Incorrect code" in enter(browser, guess).content
    page = enter(browser, make_code())
    assert (page.status_code, b"Too many logins failed" in page.content) == (200, True)
    assert b"Too many logins failed" in log_in(Browser()).content
    kinds = AuditEntry.objects.values_list("kind", "detail")
    assert ("sign_in_failed", "second factor: incorrect_code") in kinds
    assert ("sign_in_failed", "second factor: too_many_logins") in kinds
    LoginAttempt.objects.all().delete()
    assert enter(browser, make_code()).status_code == 302


def test_a_recovery_code_lets_in_once(browser, factor):
    log_in(browser)
    assert enter(browser, factor[0]).status_code == 302
    assert browser.person == "olga"
    other = Browser()
    log_in(other)
    assert b"Incorrect code" in enter(other, factor[0]).content
    assert enter(other, factor[1]).status_code == 302


def test_a_lost_factor_is_reset_from_the_shell_and_ends_the_sessions(browser, factor):
    log_in(browser)
    enter(browser, make_code())
    out = StringIO()
    call_command("reset_sign_in", "olga", stdout=out)
    assert out.getvalue() == "olga: 2 second factors, 1 sessions, 0 connections removed\n"
    assert browser.person == ""
    assert log_in(Browser())["Location"] == "/admin/"
    entry = AuditEntry.objects.get(kind="user_edited")
    assert (entry.actor, entry.target, entry.detail) == ("shell", "olga", "reset_sign_in")
    with pytest.raises(CommandError, match="no user eve"):
        call_command("reset_sign_in", "eve")


def test_secrets_are_encrypted_and_unreadable_ones_let_no_person_in(browser, factor, settings):
    assert SECRET not in str(list(Authenticator.objects.values_list("data", flat=True)))
    log_in(browser)
    rows = Authenticator.objects.filter(type="totp")
    rows.update(data={"secret": "gAAAAA-of-another-key"})
    assert b"cannot be read" in enter(browser, make_code()).content


def test_an_app_is_set_up_and_ends_the_sessions_that_began_without_it(
    browser, olga, django_capture_on_commit_callbacks
):
    log_in(browser)
    other = Browser()
    log_in(other)
    page = browser.get("/admin/account/app/add/")
    assert (page.status_code, b"data:image/svg+xml" in page.content) == (200, True)
    assert b"Incorrect code" in browser.post("/admin/account/app/add/", {"code": "1"}).content
    with django_capture_on_commit_callbacks(execute=True):
        answer = add_app(browser)
    assert answer["Location"] == "/admin/account/codes/"
    assert b"Unused codes" in browser.get("/admin/account/codes/").content
    assert (browser.person, other.person) == ("olga", "")
    assert log_in(other)["Location"] == FACTOR
    assert AuditEntry.objects.filter(kind="user_edited", target="/admin/account/app/add/").exists()


def test_who_logged_in_some_time_ago_confirms_it_before_a_factor_changes(browser, olga):
    log_in(browser)
    session = browser.session
    session["account_authentication_methods"] = [{"method": "password", "at": 1}]
    session.save()
    answer = browser.get("/admin/account/app/add/")
    assert unquote(answer["Location"]) == "/admin/account/confirm/?next=/admin/account/app/add/"
    wrong = browser.post(answer["Location"], {"password": "wrong"})
    assert (wrong.status_code, LoginAttempt.objects.count()) == (200, 1)
    right = browser.post(answer["Location"], {"password": PASSWORD})
    assert right["Location"] == "/admin/account/app/add/"
    assert browser.get("/admin/account/app/add/").status_code == 200


def test_sessions_that_are_not_listed_end_with_the_others(
    browser, olga, django_capture_on_commit_callbacks
):
    changed, older, rita = Browser(), Browser(), Browser()
    log_in(changed)
    new = {"old_password": PASSWORD, "new_password1": "olgas-next-one", "new_password2": ""}
    new["new_password2"] = new["new_password1"]
    assert changed.post("/admin/password_change/", new).status_code == 302
    log_in(older, new["new_password1"])
    UserSession.objects.filter(session_key=older.session.session_key).delete()
    rita.force_login(UserFactory(username="rita", groups=["operator"]))
    log_in(browser, new["new_password1"])
    assert (changed.person, older.person) == ("olga", "olga")
    browser.post("/admin/account/", {"session": "others"})
    assert (browser.person, changed.person, older.person) == ("olga", "", "")
    assert rita.person == "rita"
    browser.post("/admin/password_change/", {**new, "old_password": new["new_password1"]})
    log_in(changed, new["new_password1"])
    assert browser.person == "olga"
    with django_capture_on_commit_callbacks(execute=True):
        add_app(changed)
    assert (browser.person, changed.person) == ("", "olga")


def add_app(browser):
    """Set up an authenticator app in the browser's session."""
    browser.get("/admin/account/app/add/")
    secret = browser.session["mfa.totp.secret"]
    counter = next(totp.yield_hotp_counters_from_time())
    code = totp.format_hotp_value(totp.hotp_value(secret, counter))
    answer = browser.post("/admin/account/app/add/", {"code": code})
    answer.code = code
    return answer


def test_the_code_that_set_the_app_up_is_used_up(browser, olga, django_capture_on_commit_callbacks):
    log_in(browser)
    with django_capture_on_commit_callbacks(execute=True):
        code = add_app(browser).code
    other = Browser()
    log_in(other)
    assert b"was used before" in enter(other, code).content
    assert other.person == ""


def test_failed_passkeys_are_counted_and_recorded(rf, olga):
    with request_context(rf.post(FACTOR)):
        for kind in (KeyForm, KeyForm, KeyForm, KeyAgainForm, KeyAgainForm, KeyForm):
            assert not kind(user=olga, data={"credential": '{"id": 1}'}).is_valid()
    assert list(AuditEntry.objects.order_by("id").values_list("target", "detail")) == [
        *[("olga", "second factor: key_malformed")] * 3,
        *[("olga", "confirmation by second factor: key_malformed")] * 2,
        ("olga", "second factor: too_many_logins"),
    ]


def age(browser):
    """Have the browser's log-in be long ago."""
    session = browser.session
    session["account_authentication_methods"] = [{"method": "password", "at": 1}]
    session.save()


def test_an_account_with_a_factor_confirms_itself_by_the_factor_only(browser, factor):
    log_in(browser)
    enter(browser, make_code())
    age(browser)
    address = unquote(browser.get("/admin/account/app/remove/")["Location"])
    assert address == "/admin/account/confirm/code/?next=/admin/account/app/remove/"
    page = browser.post("/admin/account/confirm/", {"password": PASSWORD})
    assert page["Location"] == "/admin/account/confirm/code/"
    assert browser.get("/admin/account/app/remove/").status_code == 302
    browser.post(address, {"code": factor[0]})
    assert browser.get("/admin/account/app/remove/").status_code == 200


@pytest.fixture
def ruth(olga):
    """Another person, with a factor and a session; the address that resets it."""
    ruth, other = UserFactory(username="ruth", groups=["operator"]), Browser()
    ruth.set_password(PASSWORD)
    ruth.save()
    log_in(other, name="ruth")
    totp.TOTP.activate(ruth, SECRET)
    row = UserSession.objects.get(user=ruth)
    return f"/admin/usersessions/usersession/{row.pk}/reset-factors/"


def test_an_operator_resets_factors_of_others_after_a_confirmation(browser, ruth):
    log_in(browser)
    age(browser)
    for answer in (browser.get(ruth), browser.post(ruth)):
        assert answer["Location"].startswith("/admin/account/confirm/")
    assert Authenticator.objects.exists()
    log_in(browser)
    assert browser.post(ruth).status_code == 302
    assert not Authenticator.objects.exists()
    entry = AuditEntry.objects.latest("id")
    assert (entry.kind, entry.actor, entry.target) == ("user_edited", "olga", "ruth")


def test_nobody_resets_the_own_factors_without_them(browser, factor):
    log_in(browser)
    enter(browser, make_code())
    row = UserSession.objects.get()
    answer = browser.post(f"/admin/usersessions/usersession/{row.pk}/reset-factors/")
    assert (answer.status_code, b"Your account" in answer.content) == (403, True)
    assert Authenticator.objects.count() == 2


def test_the_end_of_a_session_is_recorded_with_the_persons_name(browser, ruth):
    log_in(browser)
    one = ruth.removesuffix("reset-factors/") + "end/"
    browser.post(one)
    log_in(browser)
    row = UserSession.objects.latest("id")
    browser.post(f"/admin/usersessions/usersession/selected/end/?row={row.pk}")
    found = AuditEntry.objects.filter(kind__in=["change", "user_edited"]).order_by("id")
    ended = "session from 127.0.0.1 ended"
    assert list(found.values_list("kind", "actor", "target", "detail")) == [
        ("user_edited", "olga", "ruth", ended),
        ("user_edited", "olga", "olga", ended),
    ]


def test_a_password_is_set_for_another_after_a_confirmation(browser, olga):
    type(olga).objects.update(is_superuser=True)
    other = UserFactory(username="rita", groups=["viewer"])
    address = "/admin/auth/user/{}/password/"
    log_in(browser)
    assert browser.get(address.format(other.pk)).status_code == 200
    for key in (olga.pk, f"0{olga.pk}"):
        assert browser.get(address.format(key))["Location"] == "/admin/password_change/"
    age(browser)
    answer = browser.get(address.format(other.pk))
    assert answer["Location"].startswith("/admin/account/confirm/")


def test_changing_the_password_is_no_way_to_guess_it(browser, olga, settings):
    log_in(browser)
    new = {"new_password1": "olgas-next-one", "new_password2": "olgas-next-one"}
    for number in range(6):
        page = browser.post("/admin/password_change/", {"old_password": f"g{number}", **new})
    assert b"Too many logins failed" in page.content
    details = AuditEntry.objects.filter(kind="sign_in_failed", target="olga")
    assert set(details.values_list("detail", flat=True)) == {
        "change of the password: password_incorrect",
        "change of the password: too_many_logins",
    }
    LoginAttempt.objects.all().delete()
    key = browser.session.session_key
    browser.post("/admin/password_change/", {"old_password": PASSWORD, **new})
    assert UserSession.objects.filter(session_key=browser.session.session_key).exists()
    assert browser.session.session_key != key
    assert AuditEntry.objects.latest("id").kind == "user_edited"
    settings.SIGN_IN = replace(settings.SIGN_IN, has_passwords=False)
    assert browser.get("/admin/password_change/").status_code == 404


@pytest.fixture
def required(settings):
    settings.SIGN_IN = SignIn(provider=None, has_passwords=True, second_factor="operators")


def test_operators_are_led_to_set_up_a_factor_before_anything_else(browser, olga, required):
    assert log_in(browser, next="/admin/runs/run/")["Location"] == "/admin/runs/run/"
    for address in ("/admin/", "/admin/runs/run/", "/admin/password_change/", ENTRY):
        answer = browser.get(address, headers={"accept": "text/html"})
        assert (answer.status_code, answer["Location"]) == (302, "/admin/account/"), address
    assert b"needs a second factor" in browser.get("/admin/account/").content
    for address in ("/api/runs", "/api/docs/", "/api/schema/"):
        assert browser.get(address, headers={"accept": "application/json"}).status_code == 403
    assert browser.post("/admin/runs/run/freeze/", {"reason": "x"}).status_code == 403
    for address in ("/admin/account/app/add/", "/admin/account/keys/add/"):
        assert browser.get(address).status_code == 200
    totp.TOTP.activate(olga, SECRET)
    assert browser.get("/admin/runs/run/").status_code == 200


def test_others_need_no_factor_where_operators_do_until_they_become_one(required, settings):
    browser, rita = Browser(), UserFactory(username="rita", groups=["viewer"])
    browser.force_login(rita)
    assert browser.get("/admin/runs/run/").status_code == 200
    type(rita).objects.filter(pk=rita.pk).update(is_superuser=True)
    assert browser.get("/admin/runs/run/").status_code == 302
    type(rita).objects.filter(pk=rita.pk).update(is_superuser=False)
    settings.SIGN_IN = replace(settings.SIGN_IN, second_factor="everyone")
    assert browser.get("/admin/runs/run/").status_code == 302


@pytest.mark.parametrize(
    "address",
    [
        "/api-auth/login/",
        "/admin/password_reset/",
        "/admin/account/password/reset/",
        "/admin/account/signup/",
        "/accounts/login/",
    ],
)
def test_there_is_no_other_way_in(browser, factor, address):
    body = {"username": "olga", "password": PASSWORD, "email": "olga@example.org"}
    answer = browser.post(address, body)
    if address.startswith("/admin/"):
        assert answer["Location"].startswith("/admin/login/?next=")
    else:
        assert answer.status_code == 404
    assert browser.person == ""


def test_the_password_alone_is_no_way_into_the_api(browser, factor):
    credentials = base64.b64encode(f"olga:{PASSWORD}".encode()).decode()
    answer = browser.get("/api/runs", headers={"authorization": f"Basic {credentials}"})
    assert answer.status_code == 401
    log_in(browser)
    assert browser.get("/api/runs").status_code == 401
    page = browser.get("/api/runs", headers={"accept": "text/html"})
    assert page["Location"].startswith("/admin/login/")


def test_sessions_are_listed_and_ended_by_their_owner_alone(browser, olga):
    others = [Browser(), Browser()]
    for one in (browser, *others):
        log_in(one)
    page = browser.get("/admin/account/").content.decode()
    assert page.count("127.0.0.1</strong>") == 3
    rita = Browser()
    rita.force_login(UserFactory(username="rita", groups=["operator"]))
    row = UserSession.objects.get(session_key=others[0].session.session_key)
    rita.post("/admin/account/", {"session": str(row.pk)})
    assert others[0].person == "olga"
    browser.post("/admin/account/", {"session": str(row.pk)})
    assert (browser.person, others[0].person, others[1].person) == ("olga", "", "olga")
    browser.post("/admin/account/", {"session": "others"})
    assert (browser.person, others[1].person) == ("olga", "")
