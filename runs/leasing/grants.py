"""Granting: the lock under which slots are granted and leases end, and the grants themselves.

Every transaction that grants a slot or ends a lease holds the grant lock, so that the queue's order
cannot be bypassed. Locks are taken in one order: grant lock, runs (by id), leases. A transaction
that may end a lease therefore takes the grant lock before it locks a run. No git command, no
process and no request runs under the lock: all grants of the installation wait for it.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import transaction

from core.prepared_statements import fetch
from host.capacity import read_available_memory_mb, read_free_disk_mb
from host.config import Config
from runs.engine.enqueue import build_grant_task
from runs.engine.events import QUEUE
from runs.leasing.sql import GRANT_SLOTS, TAKE_GRANT_LOCK
from slots import rules
from slots.rules import Capacity


@dataclass(frozen=True)
class Grant:
    """A lease that was granted just now: a row that GRANT_SLOTS returns."""

    lease_id: int
    run_id: uuid.UUID
    slot_id: str
    fence: int
    expires_at: datetime
    ttl_seconds: int
    prepare: bool


@dataclass
class GrantTransaction:
    """A transaction that holds the grant lock.

    `refusal` says why no slot is granted in it; "" if slots are granted.
    """

    refusal: str

    def execute(self, *statements: str, **values: Any) -> list[list[tuple]]:
        """Execute statements of `runs.leasing.sql` in one round trip; returns each one's rows."""
        config: Config = settings.OROBOROS
        common = {
            "host": config.host_name,
            "is_open": not self.refusal,
            "slots": config.slot_count,
            "granter": QUEUE,
            **build_grant_task(),
        }
        return fetch(*statements, **common, **values)

    def grant_slots(self) -> list[Grant]:
        """Grant this host's free slots to the first in the queue; enqueues the runs to prepare."""
        [rows] = self.execute(GRANT_SLOTS)
        return [Grant(*row) for row in rows]


def read_free_capacity() -> Capacity:
    """Return what the host has free, as read at most a second ago."""
    return _read_capacity_in_second(int(time.monotonic()))


# Reading it takes as long as one of the statements under the lock, so it is read once a second.
@lru_cache(maxsize=1)
def _read_capacity_in_second(second: int) -> Capacity:
    config: Config = settings.OROBOROS
    folder = config.var if config.var.exists() else config.home
    return Capacity(
        memory_mb=read_available_memory_mb(),
        disk_mb=read_free_disk_mb(folder),
    )


def explain_refusal() -> str:
    """Return why no slot is granted now (too little memory or disk is free), or ""."""
    floor = Capacity(settings.ADMISSION_FREE_MEMORY_MB, settings.ADMISSION_FREE_DISK_MB)
    return rules.explain_shortage(read_free_capacity(), floor)


@contextmanager
def grant_lock() -> Iterator[GrantTransaction]:
    """Hold the grant lock until the end of the transaction: the caller's, or one of its own.

    What the host has free is read before the lock is taken, to keep it short.
    """
    granting = GrantTransaction(explain_refusal())
    with transaction.atomic():
        granting.execute(TAKE_GRANT_LOCK)
        yield granting


def execute_under_grant_lock(*statements: str, **values: Any) -> list[list[tuple]]:
    """Take the grant lock and execute statements in one round trip; returns their rows.

    Outside of a transaction the lock is released in the same round trip. A client thread that
    held it between two round trips could have to wait for fifteen busy ones before its next one.
    """
    return GrantTransaction(explain_refusal()).execute(TAKE_GRANT_LOCK, *statements, **values)[1:]


def grant_slots() -> list[Grant]:
    """Grant what can be granted now; returns the grants."""
    with grant_lock() as granting:
        return granting.grant_slots()
