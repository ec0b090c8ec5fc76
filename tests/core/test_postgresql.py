"""A connection that the server ended is noticed before it is used."""

import time

import pytest
from django.db import connection

from runs.leasing import grants
from tests.environment import CLUSTER


def by_cursor():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def by_pool():
    [[(pid,)]] = grants.fetch("SELECT pg_backend_pid()")
    return pid


@pytest.mark.parametrize("asked", [by_cursor, by_pool])
def test_the_next_request_after_the_server_ended_the_session_has_another(transactional_db, asked):
    lost = asked()
    assert connection.is_usable()
    CLUSTER.execute([f"SELECT pg_terminate_backend({lost}, 5000)"])
    until = time.monotonic() + 5
    while connection.is_usable():
        assert time.monotonic() < until
    connection.close_if_unusable_or_obsolete()  # as Django does when a request begins
    assert asked() != lost


def test_an_idle_connection_stays(transactional_db):
    kept = by_cursor()
    connection.close_if_unusable_or_obsolete()
    assert (by_pool(), by_cursor()) == (kept, kept)
