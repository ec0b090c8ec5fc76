"""The commands that create users and tokens."""

from io import StringIO

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command

from accounts.models import ApiToken
from accounts.tokens import hash_token
from web.permissions import GROUPS

pytestmark = pytest.mark.django_db


def run_command(*command):
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue().strip()


def test_setup_people_prints_the_password_once():
    output = run_command("setup_people")
    password = output.removeprefix("user admin, password ")
    assert authenticate(username="admin", password=password).is_superuser
    assert set(Group.objects.values_list("name", flat=True)) == set(GROUPS)
    assert "password " + password not in run_command("setup_people")
    assert authenticate(username="admin", password=password)


def test_a_reset_replaces_the_password():
    old = run_command("setup_people").rsplit(" ", 1)[1]
    new = run_command("setup_people", "--reset").rsplit(" ", 1)[1]
    assert authenticate(username="admin", password=old) is None
    assert authenticate(username="admin", password=new)
    assert User.objects.count() == 1


def test_create_token_prints_the_secret_and_stores_only_its_hash():
    secret = run_command("create_token", "ci", "view", "hold")
    token = ApiToken.objects.get(digest=hash_token(secret))
    assert (token.name, token.abilities, token.created_by) == ("ci", ["hold", "view"], "shell")


def test_create_token_refuses_a_taken_name_and_an_unknown_ability():
    run_command("create_token", "ci", "view")
    for command in (("ci", "view"), ("other", "root"), ("", "view")):
        with pytest.raises(CommandError):
            run_command("create_token", *command)
    assert ApiToken.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["host", "Worker", "reaper", "reconciler", "queue", "shell", "root"]
)
def test_a_reserved_name_is_refused_for_users_and_tokens(name):
    for command in (
        ("createsuperuser", "--noinput", "--username", name, "--email", "a@example.com"),
        ("setup_people", "--admin", name),
        ("create_token", name, "view"),
    ):
        with pytest.raises(CommandError, match=f"The name {name} is reserved"):
            run_command(*command)
    assert (User.objects.count(), ApiToken.objects.count()) == (0, 0)


@pytest.mark.parametrize("name", ["token ci", "ci ", "a\nb", ""])
def test_a_malformed_token_name_is_refused(name):
    with pytest.raises(CommandError, match="letters, digits"):
        run_command("create_token", name, "view")
