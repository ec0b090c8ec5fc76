"""The hot statements of leasing: requesting a slot, granting, heartbeats, queue positions.

Everything else is the ORM's. These are SQL, written by hand, because each is one round trip under
the grant lock, where the ORM would need three to eight, and because they are prepared: to plan
GRANT_SLOTS takes PostgreSQL ten times as long as to execute it (docs/decisions/0004;
`bench/lease_throughput.py` measures a whole acquire and release).

States are formatted in from the enums and never written out. They are literals in the SQL text, not
parameters, because a prepared statement's generic plan can use a partial index (such as that of
the waiting leases) only if it sees the value. `tests/runs/leasing/test_sql.py` explains every
statement against the real schema, so that a renamed column fails at once.

Placeholders are psycopg's `%(name)s`. Each carries a cast because PostgreSQL must know its type
when it prepares the statement.
"""

from runs.rules import Status
from slots.rules import STATES_WITH_SLOT, LeaseState

WAITING, HELD = f"'{LeaseState.WAITING}'", f"'{LeaseState.HELD}'"
ENDED = f"'{LeaseState.ENDED}'"
WITH_SLOT = ", ".join(f"'{state}'" for state in STATES_WITH_SLOT)
QUEUED, HOLDING = f"'{Status.QUEUED}'", f"'{Status.HOLDING}'"
PREPARING = f"'{Status.PREPARING}'"

# Waits for the grant lock, which is released at the end of the transaction. The number is
# arbitrary: no other advisory lock of this database uses it.
TAKE_GRANT_LOCK = "SELECT pg_advisory_xact_lock(4210)"

# The order of the queue; negated, so that it also sorts as a row: (-priority, requested_at, id).
_ORDER = "priority DESC, requested_at, id"

# Pairs the free slots of one host with the first waiting leases: raises the fences, moves the runs,
# records the events, and enqueues a task for each run that is to be prepared. It first ends the
# waiting reservations that have timed out. Execute it under the grant lock.
# Parameters: host; is_open (false while the host lacks memory or disk); slots (how many are
# configured: rows with a higher number are not granted); granter (the actor of the events); queue,
# task (the row for django-q2).
# Returns a row for each grant: runs.leasing.grants.Grant.
# Every part of the statement sees the tables as they were before it: `next` therefore repeats the
# condition of `timed_out`. django-q2 delivers a task whose `lock` has passed: 'epoch' means now.
GRANT_SLOTS = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
timed_out AS (
    UPDATE slots_lease SET state = {ENDED}, ended_at = moment.at,
        end_reason = 'did not renew its request'
    FROM moment
    WHERE state = {WAITING} AND waits_until IS NOT NULL
      AND waits_until < (SELECT at FROM moment)
    RETURNING run_id
),
free AS (
    SELECT slot.id, slot.slot_id, slot.fence + 1 AS fence,
           row_number() OVER (ORDER BY slot.number) AS position
    FROM slots_slot AS slot
    WHERE %(is_open)s::boolean AND host = %(host)s::text AND slot.number <= %(slots)s::int
      AND drained_at IS NULL AND quarantined_at IS NULL
      AND NOT EXISTS (
          SELECT FROM slots_lease AS other
          WHERE other.slot_id = slot.id AND other.state IN ({WITH_SLOT}))
),
next AS (
    SELECT id, run_id, row_number() OVER (ORDER BY {_ORDER}) AS position
    FROM slots_lease
    WHERE state = {WAITING}
      AND (waits_until IS NULL OR waits_until >= (SELECT at FROM moment))
    ORDER BY {_ORDER} LIMIT %(slots)s::int
),
granted AS (
    UPDATE slots_lease AS lease
    SET state = {HELD}, slot_id = free.id, fence = free.fence, granted_at = moment.at,
        heartbeat_at = moment.at, needs_cleanup = run.prepare, waits_until = NULL,
        expires_at = moment.at + make_interval(secs => lease.ttl_seconds)
    FROM moment, free JOIN next USING (position) JOIN runs_run AS run ON run.id = next.run_id
    WHERE lease.id = next.id
    RETURNING lease.id, lease.run_id, free.id AS slot, free.slot_id, lease.fence,
              lease.expires_at, lease.ttl_seconds, run.prepare
),
fenced AS (
    UPDATE slots_slot SET fence = granted.fence FROM granted WHERE slots_slot.id = granted.slot
),
moved AS (
    UPDATE runs_run
    SET status = CASE WHEN granted.prepare THEN {PREPARING} ELSE {HOLDING} END
    FROM granted WHERE runs_run.id = granted.run_id AND runs_run.status = {QUEUED}
),
recorded AS (
    INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
    SELECT run_id, slot_id, at, %(granter)s::text, 'granted', 'was granted ' || slot_id,
           jsonb_build_object('fence', fence, 'expires_at', expires_at)
    FROM granted, moment
    UNION ALL
    SELECT run_id, '', at, %(granter)s::text, 'left_queue',
           'did not renew its request in time and left the queue', '{{}}'
    FROM timed_out, moment
),
enqueued AS (
    INSERT INTO django_q_ormq (key, payload, lock)
    SELECT %(queue)s::text, %(task)s::text, 'epoch' FROM granted WHERE prepare
)
SELECT id, run_id, slot_id, fence, expires_at, ttl_seconds, prepare FROM granted
"""

# Puts a queued run into the queue; a reservation that waits already is given more time. Does
# nothing if the queue is full, the run is not queued, or `owner` is given and did not create it.
# Parameters: run, actor, owner, ttl (seconds), timeout (seconds, of a reservation), limit
# (the waiters that fill the queue).
# Returns (lease id,) or no row.
# The count of waiters stops at the limit; a run that waits already may repeat it in a full queue.
REQUEST_SLOT = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
queued AS (
    SELECT run.id, run.priority, own.id AS lease,
           CASE WHEN run.prepare THEN NULL
                ELSE moment.at + make_interval(secs => %(timeout)s::int) END AS waits_until
    FROM moment, runs_run AS run
    LEFT JOIN slots_lease AS own ON own.run_id = run.id AND own.state <> {ENDED}
    WHERE run.id = %(run)s::uuid AND run.status = {QUEUED}
      AND (%(owner)s::text IS NULL OR run.created_by = %(owner)s::text)
),
-- Not an ON CONFLICT DO UPDATE: the INSERT takes an id even if it inserts nothing.
renewed AS (
    UPDATE slots_lease AS lease SET waits_until = queued.waits_until FROM queued
    WHERE lease.id = queued.lease AND state = {WAITING} AND lease.waits_until IS NOT NULL
    RETURNING lease.id
),
requested AS (
    INSERT INTO slots_lease (run_id, state, priority, ttl_seconds, is_pinned, needs_cleanup,
                             requested_at, waits_until, end_reason, cleanup_attempts, restarts)
    SELECT id, {WAITING}, priority, %(ttl)s::int, false, false, moment.at, waits_until, '', 0, 0
    FROM queued, moment
    WHERE lease IS NULL
      AND (SELECT count(*) FROM (SELECT FROM slots_lease WHERE state = {WAITING}
                                 LIMIT %(limit)s::int) AS waiters) < %(limit)s::int
    ON CONFLICT (run_id) WHERE NOT (state = {ENDED}) DO NOTHING
    RETURNING id, run_id
),
recorded AS (
    INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
    SELECT run_id, '', at, %(actor)s::text, 'requested', 'requested a slot', '{{}}'
    FROM requested, moment
)
SELECT id FROM requested UNION ALL SELECT id FROM renewed
"""

# Reads a run and its open lease, with its position in the queue while it waits (1 is next).
# Parameters: run. Returns (status, created_by, state, slot_id, fence, expires_at, ttl_seconds,
# is_expired, position), or no row if there is no such run.
# Not a part of the two above, which could not read what they have just written themselves.
READ_RESERVATION = f"""
SELECT run.status, run.created_by, lease.state, slot.slot_id, lease.fence, lease.expires_at,
       lease.ttl_seconds, NOT lease.is_pinned AND lease.expires_at <= clock_timestamp(),
       CASE WHEN lease.state = {WAITING} THEN (
           SELECT count(*) FROM slots_lease AS ahead WHERE ahead.state = {WAITING}
             AND (-ahead.priority, ahead.requested_at, ahead.id)
              <= (-lease.priority, lease.requested_at, lease.id)) END
FROM runs_run AS run
LEFT JOIN slots_lease AS lease ON lease.run_id = run.id AND lease.state <> {ENDED}
LEFT JOIN slots_slot AS slot ON slot.id = lease.slot_id
WHERE run.id = %(run)s::uuid
"""

# Ends the lease of a reservation that holds the slot, and queues its run again. Nothing of such a
# run is on the machine, so that nothing is cleaned. Execute it under the grant lock.
# Parameters: run, host, slot, fence and owner (or null), actor, code (the reason of the end), and
# text and reason of the event. Returns (fence,), or no row if anything else is to be done.
RELEASE_RESERVATION = f"""
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
ended AS (
    UPDATE slots_lease AS lease
    SET state = {ENDED}, ending_at = at, ended_at = at, end_reason = %(code)s::text
    FROM moment, runs_run AS run, slots_slot AS slot
    WHERE lease.run_id = %(run)s::uuid AND lease.state = {HELD} AND run.id = lease.run_id
      AND run.status = {HOLDING} AND slot.id = lease.slot_id
      AND slot.host = %(host)s::text AND slot.slot_id = %(slot)s::text
      AND (%(fence)s::bigint IS NULL OR lease.fence = %(fence)s::bigint)
      AND (%(owner)s::text IS NULL OR run.created_by = %(owner)s::text)
    RETURNING lease.run_id, lease.fence
),
moved AS (
    UPDATE runs_run SET status = {QUEUED} FROM ended WHERE runs_run.id = ended.run_id
),
recorded AS (
    INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
    SELECT run_id, %(slot)s::text, at, %(actor)s::text, 'released', %(text)s::text,
           jsonb_build_object('fence', fence, 'reason', %(reason)s::text) FROM ended, moment
)
SELECT fence FROM ended
"""

# Stores a heartbeat of the holder; it renews the lease of a reservation, not that of a preview.
# Parameters: run, host, slot, fence and owner (or null).
# Returns (expires_at,), or no row if the run does not hold the slot with that fence any more.
# OFFSET 0 keeps PostgreSQL from evaluating clock_timestamp() once for each use of `at`.
SEND_HEARTBEAT = f"""
UPDATE slots_lease AS lease
SET heartbeat_at = moment.at,
    expires_at = CASE WHEN run.prepare THEN lease.expires_at
        ELSE GREATEST(lease.expires_at, moment.at + make_interval(secs => lease.ttl_seconds)) END
FROM runs_run AS run, slots_slot AS slot, (SELECT clock_timestamp() AS at OFFSET 0) AS moment
WHERE lease.run_id = %(run)s::uuid AND run.id = lease.run_id AND slot.id = lease.slot_id
  AND slot.host = %(host)s::text AND slot.slot_id = %(slot)s::text AND lease.state = {HELD}
  AND (lease.is_pinned OR lease.expires_at > clock_timestamp())
  AND (%(fence)s::bigint IS NULL OR lease.fence = %(fence)s::bigint)
  AND (%(owner)s::text IS NULL OR run.created_by = %(owner)s::text)
RETURNING lease.expires_at
"""

# Reads the positions (1 is next) of those of the given runs that wait. Not the ORM's: it has no
# comparison of rows, and it would filter the runs before it numbered them. The first counts the
# waiters ahead of one run through the index; the second numbers all of them once.
# Parameters: runs (an array). Returns (run id, position) rows.
READ_POSITION = f"""
SELECT own.run_id, (
    SELECT count(*) FROM slots_lease AS ahead
    WHERE ahead.state = {WAITING}
      AND (-ahead.priority, ahead.requested_at, ahead.id)
       <= (-own.priority, own.requested_at, own.id))
FROM slots_lease AS own WHERE own.state = {WAITING} AND own.run_id = ANY(%(runs)s::uuid[])
"""
READ_POSITIONS = f"""
SELECT run_id, position FROM (
    SELECT run_id, row_number() OVER (ORDER BY {_ORDER}) AS position
    FROM slots_lease WHERE state = {WAITING}) AS waiters
WHERE run_id = ANY(%(runs)s::uuid[])
"""
