"""People and tokens: who may be made by which name."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from accounts.models import ApiToken
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-and-unusual-one-71"


@pytest.fixture
def superuser():
    client = Client()
    client.force_login(UserFactory(is_superuser=True, username="sue"))
    return client


def added(client, name):
    body = {"username": name, "password1": PASSWORD, "password2": PASSWORD}
    body |= {"usable_password": "true"}
    return client.post(reverse("admin:auth_user_add"), body)


def test_a_person_is_made_by_any_name_that_is_not_the_machines(superuser):
    assert added(superuser, "olga").status_code == 302
    for name in ("host", "WORKER", "ｈｏｓｔ"):
        page = added(superuser, name)
        assert (page.status_code, b"calls the machine itself" in page.content) == (200, True)
    assert set(User.objects.values_list("username", flat=True)) == {"sue", "olga"}


def test_a_person_is_not_renamed_to_the_machine(superuser):
    olga = UserFactory(username="olga")
    page = superuser.post(
        reverse("admin:auth_user_change", args=[olga.pk]), {"username": "host", "is_staff": "on"}
    )
    assert (page.status_code, b"calls the machine itself" in page.content) == (200, True)
    olga.refresh_from_db()
    assert olga.username == "olga"


@pytest.mark.parametrize(
    ("name", "said"), [("host", b"calls the machine itself"), ("token ci", b"letters, digits")]
)
def test_a_token_is_not_named_to_be_mistaken(superuser, name, said):
    page = superuser.post(
        reverse("admin:accounts_apitoken_new"), {"name": name, "abilities": ["view"]}
    )
    assert (page.status_code, said in page.content) == (200, True)
    assert not ApiToken.objects.exists()
