"""Logins that fail: who guesses must wait, and is told until when."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts import login_throttle
from accounts.models import LoginAttempt
from tests.factories import UserFactory
from tests.runs.conftest import together

pytestmark = pytest.mark.django_db
RIGHT, WRONG = "the-right-one-of-olga", "a-guess"
TOO_MANY, INCORRECT = "Too many logins failed. Try again in", "Please enter the correct"


@pytest.fixture(autouse=True)
def olga(settings, db):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = UserFactory(username="olga", groups=["operator"])
    user.set_password(RIGHT)
    user.save()
    return user


def login(password, name="olga", address="192.0.2.7"):
    """Log in as a browser behind the router does; returns what it is told, "" if it is in."""
    body = {"username": name, "password": password}
    page = Client(headers={"x-forwarded-for": address}).post("/admin/login/", body)
    return "" if page.status_code == 302 else page.content.decode()


def failed(times, **given):
    for _ in range(times):
        assert INCORRECT in login(WRONG, **given)


def test_who_mistypes_now_and_then_logs_in_and_it_is_forgotten():
    for _ in range(3):
        failed(4)
        assert login(RIGHT) == ""
        assert not LoginAttempt.objects.exists()


def test_an_account_that_is_guessed_at_is_closed_for_a_while_even_to_the_right_password():
    failed(5)
    failed(1, name="grace")
    for password in (WRONG, RIGHT):
        told = login(password, address="198.51.100.1")
        assert f"{TOO_MANY} 15 min, at " in told
    assert LoginAttempt.objects.filter(account="olga").count() == 5
    LoginAttempt.objects.update(at=timezone.now() - login_throttle.WINDOW)
    assert login(RIGHT) == ""


def test_the_oldest_failure_says_when_to_try_again():
    failed(5)
    first = LoginAttempt.objects.order_by("id").first()
    first.at = timezone.now() - timedelta(minutes=12)
    first.save()
    assert f"{TOO_MANY} 3 min, at " in login(RIGHT)


def test_an_address_that_guesses_at_many_accounts_must_wait_and_the_others_need_not():
    for number in range(20):
        failed(1, name=f"user{number}")
    assert TOO_MANY in login(RIGHT)
    assert login(RIGHT, address="192.0.2.8") == ""


@pytest.mark.django_db(transaction=True)
def test_many_guesses_at_once_are_no_way_around():
    told = together(lambda _: login(WRONG), range(16))
    assert sum(INCORRECT in one for one in told) <= 5
    assert all(INCORRECT in one or TOO_MANY in one for one in told)


@pytest.mark.parametrize("name", ["olga", "192.0.2.7"])
def test_an_operator_lifts_it(name, capsys):
    failed(5)
    call_command("unlock_login", name)
    assert capsys.readouterr().out == f"5 failed logins of {name} are forgotten\n"
    assert login(RIGHT) == ""


def test_who_gets_a_new_password_need_not_wait(capsys):
    failed(5)
    call_command("setup_people", "--admin", "olga", "--reset")
    password = capsys.readouterr().out.split()[-1]
    assert login(password) == ""


@pytest.mark.parametrize(
    ("forwarded", "remote", "found"),
    [
        ("", "127.0.0.1", "127.0.0.1"),
        ("192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7, 127.0.0.1", "127.0.0.1", "192.0.2.7"),
        ("10.9.9.9, 192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7", "203.0.113.5", "203.0.113.5"),
        ("192.0.2.7, <script>", "127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3::4", "127.0.0.1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "127.0.0.1", "192.0.2.7"),
    ],
)
def test_a_visitor_is_known_by_the_address_that_the_router_saw(forwarded, remote, found):
    assert (
        login_throttle.visitor({"HTTP_X_FORWARDED_FOR": forwarded, "REMOTE_ADDR": remote}) == found
    )
