"""The grant lock, what statements under it return, and how old the free capacity may be."""

from types import SimpleNamespace

import pytest
from django.db import connection, transaction

from runs.leasing import cleanup, grants, leases, maintenance, reaper
from runs.leasing.grants import read_free_capacity
from runs.lifecycle import operations
from slots.rules import Capacity
from tests.factories import LeaseFactory

COUNT_LOCKS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
"""


@pytest.mark.django_db
def test_statements_under_the_grant_lock_return_their_own_rows_only():
    with transaction.atomic():
        assert grants.execute_under_grant_lock("SELECT 1", "SELECT 2") == [[(1,)], [(2,)]]
        assert grants.execute_under_grant_lock(COUNT_LOCKS) == [[(1,)]]


@pytest.mark.django_db(transaction=True)
def test_the_grant_lock_is_held_until_the_end_of_the_transaction():
    with grants.grant_lock() as granting:
        assert granting.execute(COUNT_LOCKS) == [[(1,)]]
    assert granting.execute(COUNT_LOCKS) == [[(0,)]]


def test_the_free_capacity_is_read_once_a_second(monkeypatch):
    now, read = SimpleNamespace(monotonic=lambda: now.at, at=7.0), iter(range(100, 200))
    monkeypatch.setattr(grants, "time", now)
    monkeypatch.setattr(grants, "read_available_memory_mb", lambda: next(read))
    monkeypatch.setattr(grants, "read_free_disk_mb", lambda folder: 5)
    grants._read_capacity_in_second.cache_clear()
    seen = []
    for at in (7.0, 7.9, 8.0, 8.9, 9.0):
        now.at = at
        seen.append(read_free_capacity())
    grants._read_capacity_in_second.cache_clear()
    assert seen == [Capacity(memory, 5) for memory in (100, 100, 101, 101, 102)]


def count_grant_locks():
    with connection.cursor() as cursor:
        cursor.execute(COUNT_LOCKS)
        return cursor.fetchone()[0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        lambda lease: maintenance.quarantine(lease.slot, reason="no", actor="ann"),
        lambda lease: (
            lease.slot.quarantine(reason="no") and maintenance.unquarantine(lease.slot, actor="ann")
        ),
        lambda lease: (
            lease.slot.begin_cleaning(reason="no") and maintenance.end_cleaning(lease.slot)
        ),
        lambda lease: maintenance.drain(lease.slot, reason="no", actor="ann"),
        lambda lease: (
            lease.slot.drain(reason="no", actor="ann")
            and maintenance.undrain(lease.slot, actor="ann")
        ),
        lambda lease: leases.begin_ending(lease.run, reason="over", actor="ann") is None,
        lambda lease: cleanup.finish_ending(lease) is None,
        lambda lease: reaper.reap_expired() is not None,
        lambda lease: operations.cancel(lease.run, actor="ann") is None,
        lambda lease: operations.reject(lease.run, actor="ann", reason="no") is None,
    ],
    ids=[
        "quarantine",
        "unquarantine",
        "end_cleaning",
        "drain",
        "undrain",
        "begin_ending",
        "finish_ending",
        "reap_expired",
        "cancel",
        "reject",
    ],
)
def test_what_changes_a_slot_or_ends_a_lease_holds_the_grant_lock(change, cleaner):
    # Tests keep the transaction open, in which the lock stays.
    lease = LeaseFactory(held=True, needs_cleanup=False)
    assert count_grant_locks() == 0
    assert change(lease)
    assert count_grant_locks() == 1
