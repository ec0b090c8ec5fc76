"""The admin's forms for users and tokens: which names are refused."""

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from accounts.models import ApiToken
from accounts.reserved_names import validate_not_reserved
from tests.factories import UserFactory
from web.permissions import GROUPS, get_abilities

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-and-unusual-one-71"


@pytest.fixture
def superuser():
    client = Client()
    client.force_login(UserFactory(is_superuser=True, username="sue"))
    return client


def add_user(client, name, role="viewer"):
    body = {"username": name, "password1": PASSWORD, "password2": PASSWORD}
    body |= {"usable_password": "true", "role": role}
    return client.post(reverse("admin:auth_user_add"), body)


def test_a_user_with_a_reserved_name_is_not_created(superuser):
    assert add_user(superuser, "olga").status_code == 302
    for name in ("host", "WORKER", "ｈｏｓｔ"):
        page = add_user(superuser, name)
        assert (page.status_code, b"is reserved for the audit trail" in page.content) == (200, True)
    assert set(User.objects.values_list("username", flat=True)) == {"sue", "olga"}


@pytest.mark.parametrize("role", ["viewer", "approver", "operator"])
def test_one_form_makes_a_person_with_a_role_who_can_log_in(superuser, role):
    add_user(superuser, "olga", role)
    olga = User.objects.get(username="olga")
    assert [group.name for group in olga.groups.all()] == [role]
    browser = Client()
    body = {"username": "olga", "password": PASSWORD}
    assert browser.post(reverse("admin:login"), body).status_code == 302
    assert b"Slots" in browser.get(reverse("admin:index")).content
    assert get_abilities(olga) == GROUPS[role]


def test_a_person_without_a_role_is_not_made(superuser):
    page = add_user(superuser, "olga", "")
    assert (page.status_code, b"This field is required" in page.content) == (200, True)
    assert not User.objects.filter(username="olga").exists()


def test_the_role_is_changed_and_taken_on_the_same_form(superuser):
    olga = UserFactory(username="olga", groups=["viewer", "approver"])
    address = reverse("admin:auth_user_change", args=[olga.pk])
    assert b'value="approver" ' in superuser.get(address).content
    body = {"username": "olga", "is_active": "on"}
    superuser.post(address, {**body, "role": "operator"})
    olga = User.objects.get(pk=olga.pk)
    assert ([group.name for group in olga.groups.all()], olga.is_staff) == (["operator"], True)
    superuser.post(address, {**body, "role": ""})
    olga = User.objects.get(pk=olga.pk)
    assert (list(olga.groups.all()), olga.is_staff) == ([], False)
    superuser.post(address, {**body, "role": "", "is_superuser": "on"})
    assert User.objects.get(pk=olga.pk).is_staff


def test_a_login_without_a_role_blames_the_role_and_not_the_password():
    olga = User.objects.create_user("olga", password=PASSWORD)
    for password, blames_role in ((PASSWORD, True), ("wrong", False)):
        page = Client().post(reverse("admin:login"), {"username": "olga", "password": password})
        assert (b"This account has no role" in page.content) is blames_role
    assert olga.is_active


def test_a_user_is_not_renamed_to_a_reserved_name(superuser):
    olga = UserFactory(username="olga")
    page = superuser.post(
        reverse("admin:auth_user_change", args=[olga.pk]), {"username": "host", "is_staff": "on"}
    )
    assert (page.status_code, b"is reserved for the audit trail" in page.content) == (200, True)
    olga.refresh_from_db()
    assert olga.username == "olga"


@pytest.mark.parametrize(
    ("name", "message"),
    [("host", b"is reserved for the audit trail"), ("token ci", b"letters, digits")],
)
def test_a_token_with_a_reserved_or_malformed_name_is_not_created(superuser, name, message):
    page = superuser.post(
        reverse("admin:accounts_apitoken_new"), {"name": name, "abilities": ["view"]}
    )
    assert (page.status_code, message in page.content) == (200, True)
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    "name",
    ["h\u043est", "\u04bb\u043e\u0455\u0442", "\u041dOST", "\u0397\u039f\u0455\u03a4", "h\u00f3st",
     "\uff48\uff4f\uff53\uff54", "h0st", "r\u03bf\u03bft", "w\u043erker",
     "\U0001d421ost", "she11", "que\u03c5e", "\u0570\u0585st"],
)  # fmt: skip
def test_a_name_that_looks_reserved_in_another_alphabet_is_refused(name):
    with pytest.raises(ValidationError, match="is reserved"):
        validate_not_reserved(name)


@pytest.mark.parametrize(
    "name", ["hostess", "\u0438\u0432\u0430\u043d", "\u6f22\u5b57", "ada", "H\u00f6st-1", "roots"]
)
def test_other_names_are_accepted(name):
    validate_not_reserved(name)
