"""Prepared statements: results, parameters, and Django's exceptions."""

import pytest
from django.db import DatabaseError, IntegrityError, connection

from core.prepared_statements import fetch

pytestmark = pytest.mark.django_db


def test_each_statement_returns_its_rows():
    first, second = fetch("SELECT %(a)s::int", "SELECT %(b)s::text, 2", a=1, b="x")
    assert (first, second) == ([(1,)], [("x", 2)])


def test_a_statement_is_prepared_on_the_server():
    statement = "SELECT %(value)s::int + 41"
    fetch(statement, value=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        assert "SELECT $1::int + 41" in [row[0] for row in cursor.fetchall()]


@pytest.mark.django_db(transaction=True)
def test_an_error_is_raised_as_djangos():
    with pytest.raises(DatabaseError):
        fetch("SELECT 1 / %(zero)s::int", zero=0)


@pytest.mark.django_db(transaction=True)
def test_statements_outside_of_a_transaction_are_undone_together():
    group = "INSERT INTO auth_group (name) VALUES (%(name)s) RETURNING id"
    with pytest.raises(IntegrityError):
        fetch(group, group, name="twice")
    assert fetch("SELECT count(*) FROM auth_group WHERE name = %(name)s", name="twice") == [[(0,)]]
