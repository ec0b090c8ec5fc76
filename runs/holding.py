"""What the holder of a slot does over the API: acquire, heartbeat, release.

Few statements each: a client may do this many times a second.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection

from oroboros.errors import Refused
from oroboros.lib.config import SlotConfig
from runs import leaserules
from runs.bell import ring
from runs.cleaning import clean_and_finish
from runs.journal import record
from runs.leaserules import RELEASED, Release, View
from runs.line import RESERVATION_SECONDS, begin_ending, enqueue, place
from runs.models import Run
from runs.pool import Pool, entered
from runs.rules import FINAL, Status
from slots.models import Lease
from slots.rules import LeaseState

STANDING = """
SELECT run.status, run.created_by, lease.id, lease.state, slot.slot_id, lease.fence,
       lease.expires_at, lease.ttl_seconds,
       NOT lease.is_pinned AND lease.expires_at <= clock_timestamp()
FROM runs_run AS run
LEFT JOIN slots_lease AS lease ON lease.run_id = run.id AND lease.state <> 'ended'
LEFT JOIN slots_slot AS slot ON slot.id = lease.slot_id
WHERE run.id = %(run)s
"""
ASK_AGAIN = """
UPDATE slots_lease SET waits_until = clock_timestamp() + make_interval(secs => %(patience)s)
WHERE id = %(lease)s AND waits_until IS NOT NULL RETURNING id
"""
VIEW = """
SELECT run.status, run.created_by, COALESCE(run.claim_expires_at > clock_timestamp(), false),
       holder.run_id, mine.id, mine.state, mine.fence, COALESCE(mine.end_reason, '')
FROM runs_run AS run CROSS JOIN slots_slot AS slot
LEFT JOIN slots_lease AS holder
  ON holder.slot_id = slot.id AND holder.state IN ('held', 'ending')
LEFT JOIN LATERAL (
    SELECT id, state, fence, end_reason FROM slots_lease
    WHERE run_id = run.id AND slot_id = slot.id ORDER BY fence DESC LIMIT 1) AS mine ON true
WHERE run.id = %(run)s AND slot.slot_id = %(slot)s
"""
BACK_TO_QUEUE = """
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
ended AS (
    UPDATE slots_lease SET state = 'ended', ending_at = at, ended_at = at, end_reason = %(code)s
    FROM moment WHERE slots_lease.id = %(lease)s AND state = 'held'
    RETURNING run_id, fence
),
moved AS (
    UPDATE runs_run SET status = 'queued' FROM ended
    WHERE runs_run.id = ended.run_id AND status = 'holding'
    RETURNING runs_run.id
),
told AS (
    INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
    SELECT run_id, %(slot)s, at, %(actor)s, 'released', %(text)s,
           jsonb_build_object('fence', fence, 'force', %(force)s, 'reason', %(reason)s)
    FROM ended, moment
)
SELECT count(*) FROM moved
"""
BEAT = """
UPDATE slots_lease AS lease
SET heartbeat_at = moment.at,
    expires_at = CASE WHEN run.prepare THEN lease.expires_at
        ELSE GREATEST(lease.expires_at, moment.at + make_interval(secs => lease.ttl_seconds)) END
FROM runs_run AS run, slots_slot AS slot, (SELECT clock_timestamp() AS at OFFSET 0) AS moment
WHERE lease.run_id = %(run)s AND run.id = lease.run_id AND slot.id = lease.slot_id
  AND slot.slot_id = %(slot)s AND lease.state = 'held'
  AND (lease.is_pinned OR lease.expires_at > clock_timestamp())
  AND (%(fence)s::bigint IS NULL OR lease.fence = %(fence)s)
  AND (%(owner)s::text IS NULL OR run.created_by = %(owner)s)
RETURNING lease.expires_at
"""


@dataclass(frozen=True)
class Answer:
    """What an acquire says: a lease that is held, or a place in the line."""

    slot_id: str | None
    position: int | None
    fence: int | None
    expires_at: datetime | None
    ttl_seconds: int


def acquire(run_id: uuid.UUID, *, actor: str, owner: str | None, ttl_seconds: int | None) -> Answer:
    """Ask for a slot: granted at once, or a place in the line. Asking again changes nothing.

    `owner` is who must have made the run; None for an operator. Raises Refused `run_unknown`
    (404), `lease_not_yours` (403), `run_ended`, `lease_fenced`, `queue_full` (429).
    """
    ttl = settings.PREVIEW_TTL_SECONDS if ttl_seconds is None else ttl_seconds
    with entered() as pool:
        found = pool.row(STANDING, run=run_id)
        if found is None:
            raise run_unknown()
        status, created_by, lease_id, state, slot_id, fence, expires_at, lease_ttl, is_over = found
        leaserules.check_owner(created_by, owner)
        if status in FINAL:
            raise Refused("run_ended", f"The run is {status}; make a new one.")
        if state == LeaseState.ENDING or is_over:
            raise leaserules.fenced()
        if state == LeaseState.HELD:
            return Answer(slot_id, None, fence, expires_at, lease_ttl)
        return _wait(pool, run_id, lease_id, lease_ttl or ttl, actor)


def _wait(pool: Pool, run_id: uuid.UUID, lease_id: int | None, ttl: int, actor: str) -> Answer:
    """Join the line or say that one still waits, then grant what can be granted."""
    is_new = lease_id is None
    if lease_id is None:
        lease_id = enqueue(pool, run_id, ttl)
    else:
        pool.row(ASK_AGAIN, lease=lease_id, patience=RESERVATION_SECONDS)
    for grant in pool.grant():
        if grant.lease_id == lease_id:
            return Answer(grant.slot_id, None, grant.fence, grant.expires_at, grant.ttl_seconds)
    number = place(pool, lease_id, is_new=is_new)
    if is_new:
        run = Run(pk=run_id)
        record("waiting", f"waits for a slot, number {number}", actor=actor, run=run)
    return Answer(None, number, None, None, ttl)


def run_unknown() -> Refused:
    """Return the refusal of a run that is not there."""
    return Refused("run_unknown", "There is no such run.", status=404)


def heartbeat(
    slot: SlotConfig, run_id: uuid.UUID, *, fence: int | None, owner: str | None
) -> datetime:
    """Say that the holder lives; a reservation is renewed by it. Returns when the lease ends.

    Raises Refused `run_unknown` (404), `lease_not_yours` (403), `not_holder`, `lease_fenced`.
    """
    values: dict[str, Any] = {"run": run_id, "slot": slot.slot_id, "fence": fence, "owner": owner}
    with connection.cursor() as cursor:
        cursor.execute(BEAT, values)
        beaten = cursor.fetchone()
        if beaten is not None:
            return beaten[0]
        cursor.execute(VIEW, values)
        view = _view(cursor.fetchone())
    leaserules.check_owner(view.created_by, owner)
    leaserules.check_holder(view, run_id, fence)
    raise leaserules.fenced("The lease ran out; nothing was changed. Ask for a slot again.")


def _view(row: tuple | None) -> View:
    if row is None:
        raise run_unknown()
    return View(*row)


def release(
    slot: SlotConfig,
    run_id: uuid.UUID,
    *,
    actor: str,
    owner: str | None,
    fence: int | None = None,
    force: bool = False,
    reason: str = "",
) -> bool:
    """Let a slot go; False if the run did so before. What ran there is ended and cleaned.

    A holding run is queued again; one that prepares or shows a preview is canceled with RELEASED,
    by the process that works on it if there is one. Raises Refused `run_unknown` (404),
    `lease_not_yours` (403), `not_holder`, `lease_fenced`, `run_is_shipping`, `reason_required`.
    """
    with entered() as pool:
        row = pool.row(VIEW + "FOR UPDATE OF run", run=run_id, slot=slot.slot_id)
        view = _view(row)
        leaserules.check_owner(view.created_by, owner)
        verdict = leaserules.release(view, run_id, fence, force=force, reason=reason)
        if verdict is Release.NOTHING:
            return False
        words = ("released by force" if force else "released") + (f": {reason}" if reason else "")
        if verdict is Release.BACK_TO_QUEUE:
            pool.row(
                BACK_TO_QUEUE,
                lease=view.lease_id,
                slot=slot.slot_id,
                actor=actor,
                text=words,
                code=RELEASED,
                force=force,
                reason=reason,
            )
            pool.grant()
            return True
        lease = _end(Run.objects.get(pk=run_id), verdict, slot, actor, words)
    clean_and_finish(settings.OROBOROS, lease)
    return True


def _end(run: Run, verdict: Release, slot: SlotConfig, actor: str, words: str) -> Lease | None:
    """Fence the lease and end the run, or ask who works on it to; returns what is to be cleaned."""
    record("released", words, actor=actor, run=run, slot_id=slot.slot_id)
    if verdict is Release.CANCEL:
        return begin_ending(run, reason=words, to=Status.CANCELED, code=RELEASED, actor=actor)
    lease = begin_ending(run, reason=RELEASED, actor=actor)
    if verdict is Release.TAKE_SLOT:
        return lease
    ask_to_stop(run, to=Status.CANCELED, code=RELEASED, reason=words, actor=actor)
    return None


def ask_to_stop(run: Run, *, to: Status, code: str, reason: str, actor: str) -> None:
    """Have the process that works on the run, or the next that claims it, make the move."""
    Run.objects.filter(pk=run.pk).update(
        stop_status=to, stop_code=code, stop_reason=reason, stop_actor=actor
    )
    ring(run.pk)
