"""The commands that make people and programs known."""

from io import StringIO

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command

from accounts import authentication
from accounts.models import ApiToken

pytestmark = pytest.mark.django_db


def said(*command):
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue().strip()


def test_the_first_person_gets_a_password_once():
    line = said("setup_people")
    password = line.removeprefix("user admin, password ")
    assert authenticate(username="admin", password=password).is_superuser
    assert set(Group.objects.values_list("name", flat=True)) == set(authentication.GROUPS)
    assert "password " + password not in said("setup_people")
    assert authenticate(username="admin", password=password)


def test_a_reset_ends_the_old_password():
    old = said("setup_people").rsplit(" ", 1)[1]
    new = said("setup_people", "--reset").rsplit(" ", 1)[1]
    assert authenticate(username="admin", password=old) is None
    assert authenticate(username="admin", password=new)
    assert User.objects.count() == 1


def test_a_token_is_printed_and_only_its_hash_is_kept():
    secret = said("create_token", "ci", "view", "hold")
    token = ApiToken.objects.get(digest=authentication.digest(secret))
    assert (token.name, token.abilities, token.created_by) == ("ci", ["hold", "view"], "shell")


def test_a_token_needs_a_new_name_and_known_abilities():
    said("create_token", "ci", "view")
    for command in (("ci", "view"), ("other", "root"), ("", "view")):
        with pytest.raises(CommandError):
            said("create_token", *command)
    assert ApiToken.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["host", "Worker", "reaper", "reconciler", "line", "shell", "root"]
)
def test_nobody_goes_by_a_name_of_the_machine(name):
    for command in (
        ("createsuperuser", "--noinput", "--username", name, "--email", "a@example.com"),
        ("setup_people", "--admin", name),
        ("create_token", name, "view"),
    ):
        with pytest.raises(CommandError, match=f"calls the machine itself {name}"):
            said(*command)
    assert (User.objects.count(), ApiToken.objects.count()) == (0, 0)


@pytest.mark.parametrize("name", ["token ci", "ci ", "a\nb", ""])
def test_a_token_has_a_name_that_reads_as_one_word(name):
    with pytest.raises(CommandError, match="letters, digits"):
        said("create_token", name, "view")
