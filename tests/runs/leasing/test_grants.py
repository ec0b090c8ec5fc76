"""The grant lock, what statements under it return, and how old the free capacity may be."""

from types import SimpleNamespace

import pytest
from django.db import transaction

from runs.leasing import grants
from runs.leasing.grants import read_free_capacity
from slots.rules import Capacity

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
