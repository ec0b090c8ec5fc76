"""What the holder of a slot does over the API: acquire, heartbeat, release.

Few statements each: a client may do this many times a second.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from core.prepared_statements import fetch
from host.config import SlotConfig
from host.errors import Refused
from runs.engine.enqueue import ring
from runs.engine.journal import record
from runs.leasing import rules
from runs.leasing.cleanup import clean_and_finish
from runs.leasing.grants import GRANT, entered, passed
from runs.leasing.leases import ENQUEUE, asking, begin_ending, queue_full
from runs.leasing.rules import RELEASED, Release, View
from runs.models import Run
from runs.rules import FINAL, Status
from slots.models import Lease
from slots.rules import LeaseState

STANDING = """
SELECT run.status, run.created_by, lease.state, slot.slot_id, lease.fence, lease.expires_at,
       lease.ttl_seconds, NOT lease.is_pinned AND lease.expires_at <= clock_timestamp(),
       CASE WHEN lease.state = 'waiting' THEN (
           SELECT count(*) FROM slots_lease AS line WHERE line.state = 'waiting'
             AND (-line.priority, line.asked_at, line.id)
              <= (-lease.priority, lease.asked_at, lease.id)) END
FROM runs_run AS run
LEFT JOIN slots_lease AS lease ON lease.run_id = run.id AND lease.state <> 'ended'
LEFT JOIN slots_slot AS slot ON slot.id = lease.slot_id
WHERE run.id = %(run)s
"""
VIEW = """
SELECT run.status, run.created_by, COALESCE(run.claim_expires_at > clock_timestamp(), false),
       mine.id, mine.state, mine.fence, COALESCE(mine.end_reason, '')
FROM runs_run AS run CROSS JOIN slots_slot AS slot
LEFT JOIN LATERAL (
    SELECT id, state, fence, end_reason FROM slots_lease
    WHERE run_id = run.id AND slot_id = slot.id ORDER BY fence DESC LIMIT 1) AS mine ON true
WHERE run.id = %(run)s AND slot.slot_id = %(slot)s
"""
BACK_TO_QUEUE = """
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
ended AS (
    UPDATE slots_lease AS lease
    SET state = 'ended', ending_at = at, ended_at = at, end_reason = %(code)s::text
    FROM moment, runs_run AS run, slots_slot AS slot
    WHERE lease.run_id = %(run)s AND lease.state = 'held' AND run.id = lease.run_id
      AND run.status = 'holding' AND slot.id = lease.slot_id AND slot.slot_id = %(slot)s
      AND (%(fence)s::bigint IS NULL OR lease.fence = %(fence)s::bigint)
      AND (%(owner)s::text IS NULL OR run.created_by = %(owner)s::text)
    RETURNING lease.run_id, lease.fence
),
moved AS (
    UPDATE runs_run SET status = 'queued' FROM ended WHERE runs_run.id = ended.run_id
),
told AS (
    INSERT INTO runs_event (run_id, slot_id, at, actor, kind, text, data)
    SELECT run_id, %(slot)s::text, at, %(actor)s::text, 'released', %(words)s::text,
           jsonb_build_object('fence', fence, 'reason', %(reason)s::text) FROM ended, moment
)
SELECT fence FROM ended
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
  AND (%(fence)s::bigint IS NULL OR lease.fence = %(fence)s::bigint)
  AND (%(owner)s::text IS NULL OR run.created_by = %(owner)s::text)
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
    values = asking(run_id, actor=actor, owner=owner, ttl_seconds=ttl_seconds)
    _, _, found = passed(ENQUEUE, GRANT, STANDING, **values)
    if not found:
        raise run_unknown()
    status, created_by, state, slot_id, fence, expires_at, ttl, is_over, position = found[0]
    rules.check_owner(created_by, owner)
    if status in FINAL:
        raise Refused("run_ended", f"The run is {status}; make a new one.")
    if state is None:
        raise queue_full()
    if state == LeaseState.ENDING or is_over:
        raise rules.fenced()
    return Answer(slot_id, position, fence, expires_at, ttl)


def run_unknown() -> Refused:
    """Return the refusal of a run that is not there."""
    return Refused("run_unknown", "There is no such run.", status=404)


def heartbeat(
    slot: SlotConfig, run_id: uuid.UUID, *, fence: int | None, owner: str | None
) -> datetime:
    """Say that the holder lives; a reservation is renewed by it. Returns when the lease ends.

    Raises Refused `run_unknown` (404), `lease_not_yours` (403), `not_holder`, `lease_fenced`.
    """
    values = {"run": run_id, "slot": slot.slot_id, "fence": fence, "owner": owner}
    [beaten] = fetch(BEAT, **values)
    if beaten:
        return beaten[0][0]
    view = _view(fetch(VIEW, **values)[0])
    rules.check_owner(view.created_by, owner)
    rules.check_holder(view, fence)
    raise rules.fenced("The lease ran out; nothing was changed. Ask for a slot again.")


def _view(rows: list[tuple]) -> View:
    if not rows:
        raise run_unknown()
    return View(*rows[0])


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
    words = ("released by force" if force else "released") + (f": {reason}" if reason else "")
    values = {
        "run": run_id,
        "slot": slot.slot_id,
        "actor": actor,
        "owner": owner,
        "fence": fence,
        "code": RELEASED,
        "words": words,
        "reason": reason,
    }
    rules.check_force(force=force, reason=reason)
    if passed(BACK_TO_QUEUE, GRANT, **values)[0]:
        return True
    with entered() as pool:
        if pool.run(BACK_TO_QUEUE, GRANT, **values)[0]:  # it was granted the slot just now
            return True
        run = Run.objects.select_for_update(no_key=True).filter(pk=run_id).first()
        view = _view(pool.run(VIEW, **values)[0])
        rules.check_owner(view.created_by, owner)
        verdict = rules.release(view, fence, force=force)
        if verdict is Release.NOTHING or run is None:
            return False
        lease = _end(run, verdict, slot, actor, words)
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
