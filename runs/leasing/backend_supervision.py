"""Backends of previews that died: told, started again with back-off, then their run fails.

Who notices is the reconciler; the start itself is a task, since it waits until the backend is
healthy, and only while the slot cannot be handed on.
"""

import time
from datetime import datetime, timedelta

from django.conf import settings
from django_q.tasks import async_task

from core.clock import ClockTimestamp, database_time
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import safe_files
from runs.engine.journal import record
from runs.leasing.cleanup import clean_and_finish, only_one
from runs.leasing.grants import entered
from runs.leasing.leases import begin_ending
from runs.models import Run
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState, backoff, is_restart_due
from slots.runtime import backend, backend_log
from slots.runtime.backend import Occupant

RECONCILER = "reconciler"
START_SECONDS = 60.0
# One that was well for so long has no past.
WELL_SECONDS = 60.0
LAST_LINES = 20


def notice_deaths(config: Config) -> None:
    """Look after the backends whose process is gone, whatever hangs that does not answer."""
    known = {slot.slot_id: slot for slot in config.slots}
    held = Lease.objects.filter(
        state=LeaseState.HELD, slot__slot_id__in=known, slot__quarantined_at=None
    ).exclude(run__status=Status.PREPARING)
    for lease in held.select_related("run", "slot"):
        slot = known[str(lease.slot)]
        if backend.is_gone(config, slot):
            look_after(config, slot, lease, dry_run=False)


def look_after(config: Config, slot: SlotConfig, lease: Lease, *, dry_run: bool) -> list[str]:
    """Compare the slot's backend with its spec; restart it, or fail its run.

    Returns what was found, as sentences; nothing for one that is well, or stopped by hand.
    """
    try:
        found = backend.status(config, slot)
    except Refused as refusal:  # its spec cannot be read; nothing else waits for that
        return [refusal.detail]
    if not dry_run:
        backend_log.trim(config, slot)
    at = database_time()
    if found.is_as_wanted:
        _forget(lease, at, dry_run=dry_run)
        return []
    if not found.status.active and not backend.is_gone(config, slot):
        return []  # somebody restarts it just now
    why = f"the backend of {slot.slot_id} {_trouble(found)}"
    if dry_run:
        return [why]
    unhealthy_at = _unhealthy_since(lease, at) if found.status.active else None
    if not is_restart_due(at, restart_at=lease.restart_at, unhealthy_at=unhealthy_at):
        return [why]
    delay = backoff(lease.restarts)
    if delay is None and lease.run.status == Status.PREVIEW_READY:
        return [why, *_give_up(config, slot, lease, why)]
    _schedule(lease, delay, at, why)
    return [f"{why}; it is started again"]


def _trouble(found: Occupant) -> str:
    if not found.status.active:
        return "is not running"
    return f"is not healthy: {found.health.reason}"


def _forget(lease: Lease, at: datetime, *, dry_run: bool) -> None:
    """Forget the failed probes of a backend that is well, and its restarts after a while."""
    if dry_run:
        return
    same = Lease.objects.filter(pk=lease.pk, restarts=lease.restarts)
    if lease.unhealthy_at is not None:
        same.update(unhealthy_at=None)
    if lease.restart_at is not None and lease.restart_at <= at - timedelta(seconds=WELL_SECONDS):
        same.update(restarts=0, restart_at=None)


def _unhealthy_since(lease: Lease, at: datetime) -> datetime:
    """Return when the first probe in a row failed: this one, where none is noted."""
    if lease.unhealthy_at is None:
        Lease.objects.filter(pk=lease.pk, unhealthy_at=None).update(unhealthy_at=at)
    return lease.unhealthy_at or at


def _schedule(lease: Lease, delay: float | None, at: datetime, why: str) -> None:
    """Have one worker start the backend; of two who noticed, one does it."""
    wait = timedelta(seconds=START_SECONDS + (delay or 0.0))
    with entered():
        same = Lease.objects.filter(
            pk=lease.pk, state=LeaseState.HELD, restarts=lease.restarts, restart_at=lease.restart_at
        )
        if not same.update(restarts=lease.restarts + 1, restart_at=at + wait, unhealthy_at=None):
            return
        record("backend_down", why, actor=RECONCILER, run=lease.run, slot_id=str(lease.slot))
        async_task("runs.leasing.backend_supervision.restart", lease.pk, lease.restarts + 1)


def restart(lease_id: int, number: int) -> None:
    """Start the backend of a lease again, if it is still the lease's `number`th restart."""
    config = settings.OROBOROS
    ours = Lease.objects.filter(pk=lease_id, state=LeaseState.HELD, restarts=number)
    lease = ours.select_related("slot", "run").first()
    if lease is None or lease.slot is None:
        return
    slot = config.slot(lease.slot.slot_id)
    with only_one(slot, time.monotonic() + START_SECONDS) as is_ours:
        if not is_ours or not ours.exists():
            return
        text = f"the backend of {slot.slot_id} was started again"
        try:
            backend.restart(config, slot, seconds=START_SECONDS)
        except Refused as refused:
            text = f"{text} and failed: {refused.detail}"
    again = ClockTimestamp() + timedelta(seconds=backoff(number) or 0.0)
    # That it did not answer while it started says nothing.
    ours.update(restart_at=again, unhealthy_at=None)
    record("backend_restarted", text, actor=RECONCILER, run=lease.run, slot_id=slot.slot_id)


def _give_up(config: Config, slot: SlotConfig, lease: Lease, why: str) -> list[str]:
    """Fail the run with its last lines, unless somebody works on it or was faster."""
    log = safe_files.read_tail(backend_log.path(config, slot), LAST_LINES)
    with entered():
        run = Run.objects.select_for_update().get(pk=lease.run_id)
        if run.status != Status.PREVIEW_READY or run.is_claimed(database_time()):
            return []
        detail = f"{why} after {lease.restarts} restarts. Its last lines:\n{log}"
        record("failed", detail, actor=RECONCILER, run=run, slot_id=slot.slot_id)
        to_clean = begin_ending(
            run, reason=detail, to=Status.FAILED, code="BACKEND_UNHEALTHY", actor=RECONCILER
        )
    clean_and_finish(config, to_clean)
    return [f"run {run.pk} failed: its backend kept dying"]
