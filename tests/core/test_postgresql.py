"""A connection whose session the server ended is detected before it is used."""

import pytest
from django.db import connection

from core.prepared_statements import fetch
from host.deadline import wait_until
from tests.environment import CLUSTER


def read_pid_by_cursor():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def read_pid_by_pipeline():
    [[(pid,)]] = fetch("SELECT pg_backend_pid()")
    return pid


@pytest.mark.parametrize("read_pid", [read_pid_by_cursor, read_pid_by_pipeline])
def test_an_ended_session_is_replaced_before_the_next_request(transactional_db, read_pid):
    lost = read_pid()
    assert connection.is_usable()
    CLUSTER.execute([f"SELECT pg_terminate_backend({lost}, 60000)"])
    assert wait_until(lambda: not connection.is_usable(), seconds=60, interval=0.01)
    connection.close_if_unusable_or_obsolete()  # as Django does when a request begins
    assert read_pid() != lost


def test_an_idle_connection_is_kept(transactional_db):
    pid = read_pid_by_cursor()
    connection.close_if_unusable_or_obsolete()
    assert (read_pid_by_pipeline(), read_pid_by_cursor()) == (pid, pid)
