"""Threads that take turns use few connections, and none that is broken or in a transaction."""

import threading

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from core.shared_connections import SharedConnections
from host.deadline import wait_until

pytestmark = pytest.mark.django_db
SESSION = "SELECT pg_backend_pid()"


@pytest.fixture
def shared():
    made = SharedConnections(2)
    yield made
    made.close()


def read_session():
    with connection.cursor() as cursor:
        cursor.execute(SESSION)
        return cursor.fetchone()[0]


def run_in_thread(function):
    """Run the function in a new thread; return what it returned or raised."""
    results = []

    def run():
        try:
            results.append(function())
        except Exception as error:  # noqa: BLE001 — the test looks at it
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return results[0]


def use(shared, function=read_session):
    def run():
        with shared.lend():
            return function()

    return run_in_thread(run)


def is_open(session):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # this one is in a transaction
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [session])
        return cursor.fetchone() == (1,)


def has_ended(session):
    return wait_until(lambda: not is_open(session), seconds=60, interval=0.02)


def test_threads_that_take_turns_use_one_connection(shared):
    assert len({use(shared) for _ in range(5)}) == 1


def test_threads_at_the_same_time_have_one_each_and_the_surplus_is_closed(shared):
    together = threading.Barrier(4)

    def run():
        with shared.lend():
            session = read_session()
            together.wait(60)
            sessions.append(session)

    sessions = []
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(sessions)) == 4
    assert {use(shared) for _ in range(3)} < set(sessions)
    assert len(shared._idle) == 2


def test_a_thread_that_asks_nothing_opens_no_connection(shared):
    assert use(shared, lambda: connections[DEFAULT_DB_ALIAS].connection) is None
    assert shared._idle == []


def test_a_session_that_the_server_ended_meanwhile_is_replaced(shared):
    first = use(shared)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 60000)", [first])
    second = use(shared)
    assert isinstance(second, int)
    assert second != first


def test_what_is_left_in_a_transaction_is_closed_and_not_lent_again(shared):
    def leave_open():
        transaction.atomic().__enter__()
        return read_session()

    first = use(shared, leave_open)
    second = use(shared)
    assert isinstance(second, int)
    assert second != first
    assert has_ended(first)


def test_close_ends_the_idle_sessions(shared):
    session = use(shared)
    assert is_open(session)
    shared.close()
    assert has_ended(session)
