"""Where leases meet runs: asking for a slot, holding it, ending it.

Ending is fence first: from `begin_ending` on nobody writes for the lease. Then the slot is cleaned,
and only `finish_ending` hands it on. What ends or grants enters the pool (see
`runs.leasing.grants`); in a transaction of its own or in the caller's, which then enters it
before it locks a run.
"""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest

from core.clock import ClockTimestamp, database_time
from host.errors import Refused
from runs.engine.journal import record
from runs.leasing.cleanup import clean_and_finish, finish_ending
from runs.leasing.grants import GRANT, Pool, entered, passed
from runs.leasing.queue_status import positions
from runs.leasing.rules import fenced
from runs.models import Run
from runs.rules import FAILURES, Status
from slots.models import Lease
from slots.rules import LeaseState

__all__ = [
    "ask",
    "begin_ending",
    "clean_and_finish",
    "entered",
    "finish_ending",
    "keep",
    "pin",
    "position",
    "renew",
    "unpin",
]

# A waiting reservation that does not ask again for so long leaves the line.
RESERVATION_SECONDS = 60

ENQUEUE = """
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
asked AS (
    INSERT INTO slots_lease (run_id, state, priority, ttl_seconds, is_pinned, is_occupied,
                             asked_at, waits_until, end_reason, cleanings, restarts)
    SELECT run.id, 'waiting', run.priority, %(ttl)s::int, false, false, moment.at,
           CASE WHEN run.prepare THEN NULL
                ELSE moment.at + make_interval(secs => %(patience)s::int) END, '', 0, 0
    FROM runs_run AS run, moment
    WHERE run.id = %(run)s AND run.status = 'queued'
      AND (%(owner)s::text IS NULL OR run.created_by = %(owner)s::text)
      AND (EXISTS (SELECT FROM slots_lease AS own WHERE own.run_id = run.id AND state <> 'ended')
           OR (SELECT count(*) FROM (SELECT FROM slots_lease WHERE state = 'waiting'
                                     LIMIT %(bound)s::int) AS line) < %(bound)s::int)
    ON CONFLICT (run_id) WHERE NOT (state = 'ended')
    DO UPDATE SET waits_until = EXCLUDED.waits_until
    WHERE slots_lease.state = 'waiting' AND slots_lease.waits_until IS NOT NULL
    RETURNING id, run_id, xmax = 0 AS is_new
),
told AS (
    INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
    SELECT run_id, '', at, %(actor)s::text, 'asked', 'asks for a slot', '{}' FROM asked, moment
    WHERE is_new
)
SELECT id FROM asked
"""


def asking(
    run_id: uuid.UUID, *, actor: str, owner: str | None = None, ttl_seconds: int | None = None
) -> dict[str, Any]:
    """Return the values of ENQUEUE: a queued run joins the line, one that waits is heard again.

    `owner` is who must have made the run, if anybody. Nobody joins a line that is full.
    """
    return {
        "run": run_id,
        "actor": actor,
        "owner": owner,
        "ttl": settings.PREVIEW_TTL_SECONDS if ttl_seconds is None else ttl_seconds,
        "patience": RESERVATION_SECONDS,
        "bound": settings.QUEUE_LIMIT,
    }


def queue_full() -> Refused:
    """Return the refusal of who comes to a full line."""
    detail = f"{settings.QUEUE_LIMIT} runs wait for a slot already; ask again later."
    return Refused("queue_full", detail, status=429)


def ask(run: Run, *, actor: str) -> Lease:
    """Put the run in the line, or grant it a slot at once; one that asked has the lease it had.

    Raises Refused `not_queued`, `queue_full` (429).
    """
    with transaction.atomic():
        passed(ENQUEUE, GRANT, **asking(run.pk, actor=actor))
        run.refresh_from_db()
        open_lease = Lease.objects.exclude(state=LeaseState.ENDED).select_related("slot")
        lease = open_lease.filter(run=run).first()
        if lease is not None:
            return lease
    if run.status != Status.QUEUED:
        raise Refused("not_queued", f"The run is {run.status}; only a queued run waits for a slot.")
    raise queue_full()


def begin_ending(
    run: Run, *, reason: str, actor: str, to: Status | None = None, code: str = ""
) -> Lease | None:
    """Fence the run's lease, and make the run's move with it if `to` is given.

    Returns the lease where the slot is to be cleaned (`clean_and_finish`). Where nothing of the
    run can be on the machine the lease ends here and the next waiter is granted: None.
    """
    with entered() as pool:
        if to is not None:
            remedy = FAILURES[code].remedy if code else run.next_action
            run.move(to, failure_code=code, failure_detail=reason, next_action=remedy)
        lease = (
            Lease.objects.select_for_update(of=("self",))
            .select_related("slot")
            .filter(run=run)
            .exclude(state=LeaseState.ENDED)
            .first()
        )
        if lease is None or lease.state == LeaseState.ENDING:
            return lease
        return _fence(pool, run, lease, code or reason, actor)


def _fence(pool: Pool, run: Run, lease: Lease, reason: str, actor: str) -> Lease | None:
    at = database_time()
    lease.ending_at, lease.end_reason, lease.is_pinned = at, reason, False
    was_held = lease.state == LeaseState.HELD
    lease.state = LeaseState.ENDING if was_held and lease.is_occupied else LeaseState.ENDED
    if lease.state == LeaseState.ENDED:
        lease.ended_at = at
    lease.save()
    if lease.slot is not None:
        text = f"the lease on {lease.slot.slot_id} is over: {reason}"
        data = {"fence": lease.fence, "reason": reason}
        record("lease_over", text, actor=actor, run=run, slot_id=lease.slot.slot_id, **data)
    if lease.state == LeaseState.ENDING:
        return lease
    if was_held:
        pool.grant()
    return None


def renew(run: Run) -> None:
    """Give the run's lease its whole time again, from now. Raises Refused `lease_fenced`."""
    _extend(run, F("ttl_seconds") * timedelta(seconds=1))


def keep(run: Run, *, actor: str, seconds: int) -> None:
    """Keep the run's slot for `seconds` from now at least, 72 h at most.

    Raises Refused `keep_too_long` (400), `lease_fenced` where it holds none.
    """
    if not 0 < seconds <= settings.PREVIEW_KEEP_SECONDS:
        limit = settings.PREVIEW_KEEP_SECONDS // 3600
        raise Refused("keep_too_long", f"A preview is kept for 1 s to {limit} h.", status=400)
    with transaction.atomic():
        # The event first: it takes a lock on the run, and runs are locked before leases.
        record("kept", f"keeps its slot for {seconds} s", actor=actor, run=run, seconds=seconds)
        _extend(run, timedelta(seconds=seconds))


def _extend(run: Run, length: timedelta | Combinable) -> None:
    until = ClockTimestamp() + length
    held = Lease.objects.good(ClockTimestamp()).filter(run=run)
    if held.update(expires_at=Greatest("expires_at", until)) != 1:
        raise fenced()


def pin(run: Run) -> None:
    """Hold the run's lease open until it is ended or unpinned. Raises Refused `lease_fenced`."""
    held = Lease.objects.good(ClockTimestamp()).filter(run=run)
    if held.update(is_pinned=True) != 1:
        raise fenced()


def unpin(run: Run) -> None:
    """Let the run's lease run out again, at the time it has."""
    Lease.objects.filter(run=run, state=LeaseState.HELD).update(is_pinned=False)


def position(run: Run) -> int | None:
    """Return the run's place in the line, 1 is next; None if it does not wait."""
    return positions([run.pk]).get(run.pk)
