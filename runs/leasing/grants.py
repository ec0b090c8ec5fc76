"""The slots as one pool: who waits, who is next, and the statement that grants.

Whoever grants or ends holds the pool's lock, so that no waiter is passed. Locks are taken in one
order, pool → runs (by id) → leases: a transaction that may end a lease enters the pool before it
locks a run. The hot statements are SQL and not the ORM's, so that an acquire is one round trip
under the lock; see docs/decisions/0004.
"""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import psutil
from django.conf import settings
from django.db import transaction

from core.prepared_statements import fetch
from runs.engine import enqueue
from slots import rules
from slots.rules import Room

# Any number that no other lock of this database uses.
LOCK = "SELECT pg_advisory_xact_lock(4210)"
MEBIBYTE = 1024 * 1024
LINE = "line"

GRANT = """
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
silent AS (
    UPDATE slots_lease SET state = 'ended', ended_at = moment.at, end_reason = 'silent'
    FROM moment
    WHERE state = 'waiting' AND waits_until IS NOT NULL
      AND waits_until < (SELECT at FROM moment)
    RETURNING run_id
),
free AS (
    SELECT slot.id, slot.slot_id, slot.fence + 1 AS fence,
           row_number() OVER (ORDER BY slot.number) AS place
    FROM slots_slot AS slot
    WHERE %(is_open)s::boolean AND host = %(host)s AND slot.number <= %(slots)s::int
      AND drained_at IS NULL AND quarantined_at IS NULL
      AND NOT EXISTS (
          SELECT FROM slots_lease AS other
          WHERE other.slot_id = slot.id AND other.state IN ('held', 'ending'))
),
next AS (
    SELECT id, run_id, row_number() OVER (ORDER BY priority DESC, asked_at, id) AS place
    FROM slots_lease
    WHERE state = 'waiting'
      AND (waits_until IS NULL OR waits_until >= (SELECT at FROM moment))
    ORDER BY priority DESC, asked_at, id LIMIT %(slots)s::int
),
granted AS (
    UPDATE slots_lease AS lease
    SET state = 'held', slot_id = free.id, fence = free.fence, granted_at = moment.at,
        heartbeat_at = moment.at, is_occupied = run.prepare, waits_until = NULL,
        expires_at = moment.at + make_interval(secs => lease.ttl_seconds)
    FROM moment, free JOIN next USING (place) JOIN runs_run AS run ON run.id = next.run_id
    WHERE lease.id = next.id
    RETURNING lease.id, lease.run_id, free.id AS slot, free.slot_id, lease.fence,
              lease.expires_at, lease.ttl_seconds, run.prepare
),
fenced AS (
    UPDATE slots_slot SET fence = granted.fence FROM granted WHERE slots_slot.id = granted.slot
),
moved AS (
    UPDATE runs_run
    SET status = CASE WHEN granted.prepare THEN 'preparing' ELSE 'holding' END
    FROM granted WHERE runs_run.id = granted.run_id AND runs_run.status = 'queued'
),
told AS (
    INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
    SELECT run_id, slot_id, at, %(line)s::text, 'granted', 'has ' || slot_id,
           jsonb_build_object('fence', fence, 'expires_at', expires_at)
    FROM granted, moment
    UNION ALL
    SELECT run_id, '', at, %(line)s::text, 'left_line', 'did not ask again and left the line', '{}'
    FROM silent, moment
),
rung AS (
    INSERT INTO django_q_ormq (key, payload, lock)
    SELECT %(queue)s::text, %(bell)s::text, 'epoch' FROM granted WHERE prepare
)
SELECT id, run_id, slot_id, fence, expires_at, ttl_seconds, prepare FROM granted
"""


@dataclass(frozen=True)
class Grant:
    """A lease that was granted just now."""

    lease_id: int
    run_id: uuid.UUID
    slot_id: str
    fence: int
    expires_at: datetime
    ttl_seconds: int
    prepare: bool


@dataclass
class Pool:
    """The pool, locked until the end of the transaction."""

    refusal: str

    def run(self, *statements: str, **values: Any) -> list[list[tuple]]:
        """Run statements in one round trip; GRANT rings for those that it gave a slot."""
        surroundings = {
            "is_open": not self.refusal,
            "host": settings.HOST_NAME,
            "slots": len(settings.OROBOROS.slots),
            "line": LINE,
            **enqueue.for_granted(),
        }
        return fetch(*statements, **surroundings, **values)

    def grant(self) -> list[Grant]:
        """Give the free slots to the first in line; ring for those that are to be prepared."""
        [rows] = self.run(GRANT)
        return [Grant(*row) for row in rows]


def room() -> Room:
    """Return what the host has free now, at most a second ago."""
    return _room_at(int(time.monotonic()))


@lru_cache(maxsize=1)
def _room_at(second: int) -> Room:
    """Look once a second: to read it costs as much as a statement of the pool."""
    config = settings.OROBOROS
    folder = config.var if config.var.exists() else config.home
    return Room(
        memory_mb=psutil.virtual_memory().available // MEBIBYTE,
        disk_mb=shutil.disk_usage(folder).free // MEBIBYTE,
    )


def refusal() -> str:
    """Return why no slot is granted now; "" if one may be."""
    floor = Room(settings.ADMISSION_FREE_MEMORY_MB, settings.ADMISSION_FREE_DISK_MB)
    return rules.admission(room(), floor)


@contextmanager
def entered() -> Iterator[Pool]:
    """Hold the pool for the rest of the transaction (the caller's, or one of its own).

    What the host has free is read before the lock, so that nobody waits for it.
    """
    refused = refusal()
    with transaction.atomic():
        pool = Pool(refused)
        pool.run(LOCK)
        yield pool


def passed(*statements: str, **values: Any) -> list[list[tuple]]:
    """Enter the pool, run statements and, outside of a transaction, leave it: one round trip.

    Returns their rows. Under the lock nobody waits for the client, whose thread may have to wait
    for fifteen busy ones before it says another word.
    """
    return Pool(refusal()).run(LOCK, *statements, **values)[1:]


def grant() -> list[Grant]:
    """Grant what can be granted now: for whoever made a slot usable again, and the reaper."""
    with entered() as pool:
        return pool.grant()
