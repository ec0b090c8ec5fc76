"""A list of the admin has its first 10,000 rows, and says where there are more."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from runs.models import Event
from tests.factories import EventFactory
from web.pagination import LISTED_ROWS

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client):
    user = User.objects.create_superuser("ada")
    client.force_login(user)
    return client


def create_events(number: int, **fields: str) -> None:
    Event.objects.bulk_create(EventFactory.build(run=None, **fields) for _ in range(number))


@pytest.mark.parametrize(("rows", "is_cut"), [(LISTED_ROWS, False), (LISTED_ROWS + 1, True)])
def test_a_list_says_where_it_does_not_have_all_rows(operator, rows, is_cut):
    create_events(rows, text="from a branch")
    page = operator.get(reverse("admin:runs_event_changelist"))
    assert page.context["cl"].result_count == min(rows, LISTED_ROWS)
    assert ("The list has the first 10,000 rows." in page.content.decode()) == is_cut


def test_a_search_finds_rows_that_the_whole_list_does_not_have(operator):
    create_events(1, text="the oldest")
    create_events(LISTED_ROWS)
    address = reverse("admin:runs_event_changelist")
    assert "the oldest" not in operator.get(f"{address}?p=200").content.decode()
    assert "the oldest" in operator.get(f"{address}?q=oldest").content.decode()


def test_no_count_reads_more_rows_than_the_list_has(operator):
    create_events(3)
    with CaptureQueriesContext(connection) as queries:
        operator.get(reverse("admin:runs_event_changelist"))
    counts = [one["sql"] for one in queries if re.search(r'COUNT.*"runs_event"', one["sql"])]
    assert counts
    assert all(f"LIMIT {LISTED_ROWS + 1}" in sql for sql in counts), counts
