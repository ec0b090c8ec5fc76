"""The login throttle: limits by account and by address, and the ways to lift them."""

from datetime import timedelta
from pathlib import Path

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts import login_throttle
from accounts.models import AuditEntry, LoginAttempt
from accounts.sign_in.options import Provider, SignIn
from tests.factories import UserFactory
from tests.runs.conftest import together

pytestmark = pytest.mark.django_db
RIGHT, WRONG = "the-right-one-of-olga", "a-guess"
TOO_MANY, INCORRECT = (
    "Too many logins failed. Try again in",
    "The username or the password is wrong",
)


@pytest.fixture(autouse=True)
def olga(settings, db):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = UserFactory(username="olga", groups=["operator"])
    user.set_password(RIGHT)
    user.save()
    return user


def login(password, name="olga", address="192.0.2.7"):
    """Log in like a browser behind the router; returns the page with the error, "" on success."""
    body = {"username": name, "password": password}
    page = Client(headers={"x-forwarded-for": address}).post("/admin/login/", body)
    return "" if page.status_code == 302 else page.content.decode()


def fail_logins(times, **given):
    for _ in range(times):
        assert INCORRECT in login(WRONG, **given)


def test_a_successful_login_deletes_the_failed_attempts():
    for _ in range(3):
        fail_logins(4)
        assert login(RIGHT) == ""
        assert not LoginAttempt.objects.exists()


def test_a_throttled_account_refuses_even_the_right_password():
    fail_logins(5)
    fail_logins(1, name="grace")
    for password in (WRONG, RIGHT):
        page = login(password, address="198.51.100.1")
        first = LoginAttempt.objects.order_by("at").first()
        end = timezone.localtime(first.at + login_throttle.WINDOW)
        assert f"{TOO_MANY} 15 min, at {end:%H:%M %Z}, or " in page
    assert LoginAttempt.objects.filter(account="olga").count() == 5
    LoginAttempt.objects.update(at=timezone.now() - login_throttle.WINDOW)
    assert login(RIGHT) == ""


def test_the_wait_ends_15_minutes_after_the_oldest_failure():
    fail_logins(5)
    first = LoginAttempt.objects.order_by("id").first()
    first.at = timezone.now() - timedelta(minutes=12)
    first.save()
    assert f"{TOO_MANY} 3 min, at " in login(RIGHT)


def read_failures():
    entries = AuditEntry.objects.filter(kind="sign_in_failed").order_by("pk")
    return list(entries.values_list("target", "detail"))


def test_who_knows_the_password_of_an_account_without_a_role_is_told_so(olga):
    type(olga).objects.update(is_staff=False)
    # An address of its own: of each so many failures a minute are recorded.
    page = login(RIGHT, address="198.51.100.2")
    assert "This account has no role. An administrator gives it one" in page
    assert INCORRECT in login(WRONG, address="198.51.100.2")
    assert read_failures() == [("olga", "no_role"), ("olga", "invalid_login")]


def test_who_knows_the_password_of_a_connected_account_is_sent_to_the_provider(olga, settings):
    provider = Provider(
        issuer="https://sso.example.com",
        name="Ours",
        client_id="oroboros",
        secret_file=Path("/nonexistent"),
        scopes=("openid",),
        groups_claim="groups",
        name_claim="preferred_username",
        groups={},
        session_hours=12,
    )
    settings.SIGN_IN = SignIn(provider, has_passwords=True, second_factor="optional")
    SocialAccount.objects.create(user=olga, provider=provider.key, uid="s-1")
    page = login(RIGHT, address="198.51.100.3")
    assert "This account is connected: log in through the provider." in page
    assert INCORRECT in login(WRONG, address="198.51.100.3")
    assert read_failures() == [("olga", "connected"), ("olga", "invalid_login")]


def test_an_address_that_tries_many_accounts_is_throttled_alone():
    for number in range(20):
        fail_logins(1, name=f"user{number}")
    assert TOO_MANY in login(RIGHT)
    assert login(RIGHT, address="192.0.2.8") == ""


@pytest.mark.django_db(transaction=True)
def test_parallel_attempts_do_not_exceed_the_limit():
    pages = together(lambda _: login(WRONG), range(16))
    assert sum(INCORRECT in page for page in pages) <= 5
    assert all(INCORRECT in page or TOO_MANY in page for page in pages)


@pytest.mark.parametrize("name", ["olga", "192.0.2.7"])
def test_unlock_login_ends_the_wait(name, capsys):
    fail_logins(5)
    call_command("unlock_login", name)
    assert capsys.readouterr().out == f"5 failed logins of {name} deleted\n"
    assert login(RIGHT) == ""


def test_a_password_reset_ends_the_wait(capsys):
    fail_logins(5)
    call_command("setup_people", "--admin", "olga", "--reset")
    password = capsys.readouterr().out.split()[-1]
    assert login(password) == ""
