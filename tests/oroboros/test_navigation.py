"""The admin's sidebar has only links that exist, and only for users who may follow them."""

import pytest
from django.contrib.auth.models import AnonymousUser, User

from oroboros.navigation import build_navigation

pytestmark = pytest.mark.django_db


def read_titles(rf, user):
    request = rf.get("/admin/")
    request.user = user
    return [group["title"] for group in build_navigation(request)]


def test_a_superuser_sees_every_group(rf):
    user = User.objects.create_superuser("grace", password="x")
    groups = ["", "History", "Notifications", "API", "Operation", "Authentication"]
    assert read_titles(rf, user) == groups


def test_a_user_without_abilities_sees_no_group(rf):
    assert read_titles(rf, User.objects.create_user("eve")) == []
    assert read_titles(rf, AnonymousUser()) == []
