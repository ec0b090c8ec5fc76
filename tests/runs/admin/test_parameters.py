"""Values that a client sends reach no query unchecked: every list, its filters, and the API."""

from base64 import b64encode
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.tokens import create_token
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
SUFFIXES = ("", "__exact", "__gte", "__icontains", "__in")
LISTS = ("/api/runs", "/api/releases")
ODD = ["%00", "a%00b", "%ff", "%F0%9F%92%A9", "9" * 40, "-1", "1e9", "'", "\u202e", "[]", "null"]


def name_parameter(list_filter):
    """Return the parameter of a filter as `list_filter` has it: a field, with a class, a class."""
    if isinstance(list_filter, type):
        return list_filter.parameter_name
    return list_filter if isinstance(list_filter, str) else list_filter[0]


def list_admin_pages():
    for model, model_admin in admin.site._registry.items():
        info = (model._meta.app_label, model._meta.model_name)
        names = [name_parameter(one) for one in model_admin.list_filter]
        parameters = [f"{name}{suffix}" for name in names for suffix in SUFFIXES]
        yield reverse("admin:{}_{}_changelist".format(*info)), ["q", "o", "p", "all", *parameters]


@pytest.fixture
def operator():
    client = Client(raise_request_exception=True)
    client.force_login(UserFactory(is_superuser=True))
    return client


@pytest.mark.parametrize("values", [ODD[:1], pytest.param(ODD, marks=pytest.mark.full)])
def test_no_value_of_a_parameter_of_an_admin_page_is_an_error(operator, values):
    for page, parameters in list_admin_pages():
        for value in values:
            value = value if "%" in value else quote(value)
            for parameter in parameters:
                answer = operator.get(f"{page}?{parameter}={value}")
                assert answer.status_code in (200, 302, 400), (page, parameter, value)
            for path in (f"{page}{value}/change/", f"{page}{value}/history/"):
                assert operator.get(path).status_code in (302, 400, 404), path
        answer = operator.post(page, {"action": "x\0", "_selected_action": "\0"})
        assert answer.status_code == 400


@pytest.fixture
def api():
    secret = create_token("reader", ["view"], created_by="tests")
    return Client(headers={"authorization": f"Bearer {secret}"})


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.text(), is_reversed=st.booleans())
def test_a_cursor_with_any_position_is_a_page_or_a_400(api, position, is_reversed):
    query = f"p={quote(position)}&r={int(is_reversed)}"
    cursor = quote(b64encode(query.encode()).decode())
    for path in LISTS:
        answer = api.get(f"{path}?cursor={cursor}")
        assert answer.status_code in (200, 400), (path, query)


@pytest.mark.parametrize(
    "cursor", ["cD1hYmM=", "x", "%00", "cD0lMDA=", "cj1hYmM=", b64encode(b"p=9999-99-99").decode()]
)
def test_a_malformed_cursor_returns_400(api, cursor):
    answer = api.get(f"/api/runs?cursor={cursor}")
    assert answer.status_code == 400
    assert answer.json()["error"] in ("cursor_invalid", "invalid_input")


@pytest.mark.parametrize("limit", ["abc", "-1", "0", "00", "1.5", "", "\u0663"])
def test_an_invalid_limit_returns_400(api, limit):
    answer = api.get("/api/runs", {"limit": limit})
    assert (answer.status_code, answer.json()["error"]) == (400, "limit_invalid")
