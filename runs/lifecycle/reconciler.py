"""Wish and world compared: what the rows say, and what is on the machine.

Idempotent, and run by the worker and by a timer both, so that either may die. What is found comes
back as sentences; what is mended is an event too.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.db.models import Q

from core.clock import ClockTimestamp, database_time
from host.config import Config, SlotConfig
from host.errors import Refused
from host.postgres import guard
from host.units import managers
from releases.deployments.reconciler import reconcile as reconcile_releases
from runs.engine.journal import record
from runs.leasing import backend_supervision, cleanup, reaper
from runs.leasing.backend_supervision import RECONCILER
from runs.leasing.grants import entered
from runs.leasing.maintenance import quarantine
from runs.lifecycle import branch_watch, operations
from runs.models import Event, Run
from runs.pipelines import merge_gate
from runs.rules import SHIPPING, Status
from slots.models import Lease, Slot
from slots.rules import ON_SLOT, LeaseState
from slots.runtime import backend, surface
from slots.runtime.cleanup import leftovers

# What every pass finds again, as a colour that never comes up, is an event once in so long.
TOLD_SECONDS = 600


def reconcile(config: Config, dry_run: bool = False) -> list[str]:
    """Mend what differs; returns what was found (with `dry_run` only found), as sentences."""
    parts: tuple[Callable[[Config, bool], Iterator[str]], ...] = (
        _expired,
        _ending,
        _claims,
        _slots,
        _strangers,
        _gates,
    )
    found = [sentence for part in parts for sentence in part(config, dry_run)]
    return [*found, *_releases(config, dry_run)]


def _mended(text: str, slot_id: str = "", run: Run | None = None) -> str:
    record("mended", text, actor=RECONCILER, run=run, slot_id=slot_id)
    return text


def _expired(config: Config, dry_run: bool) -> Iterator[str]:
    """Leases that ran out."""
    if dry_run:
        slot_ids = [str(lease.slot) for lease in reaper.expired()]
    else:
        slot_ids = reaper.reap_expired(RECONCILER).slot_ids
    for slot_id in slot_ids:
        yield f"the lease on {slot_id} had run out"


def _ending(config: Config, dry_run: bool) -> Iterator[str]:
    """Leases that nobody finished cleaning; a run that is asked to stop is its worker's."""
    since = database_time() - timedelta(seconds=cleanup.CLEAN_SECONDS)
    abandoned = Lease.objects.filter(
        ~Q(run__status__in=(Status.PREPARING, Status.PREVIEW_READY, *SHIPPING))
        | Q(run__status=Status.DEPLOYING),
        state=LeaseState.ENDING,
        ending_at__lte=since,
    )
    for lease in abandoned.select_related("slot", "run"):
        text = f"{lease.slot} was still to be cleaned after its lease"
        if not dry_run and cleanup.clean_and_finish(config, lease):
            _mended(text, str(lease.slot), lease.run)
        yield text


def _claims(config: Config, dry_run: bool) -> Iterator[str]:
    """Runs whose worker fell silent."""
    silent = Run.objects.unfinished().filter(claim_expires_at__lt=database_time())
    for run in silent:
        yield f"nobody works on run {run.pk} any more, though {run.claim_owner} said so"
    if not dry_run:
        operations.sweep()


def _slots(config: Config, dry_run: bool) -> Iterator[str]:
    """Occupants, worktrees, databases and surfaces against the leases."""
    leases = Lease.objects.filter(state__in=ON_SLOT).select_related("run", "slot")
    held = {lease.slot_id: lease for lease in leases}
    known = {slot.slot_id: slot for slot in config.slots}
    for row in Slot.objects.filter(quarantined_at=None, slot_id__in=known):
        slot, lease = known[row.slot_id], held.get(row.pk)
        if lease is None:
            yield from _free(config, row, slot, dry_run)
        elif lease.state == LeaseState.HELD and lease.run.status != Status.PREPARING:
            lost = _lost(slot, lease, dry_run)
            yield from lost or backend_supervision.look_after(config, slot, lease, dry_run=dry_run)


def _lost(slot: SlotConfig, lease: Lease, dry_run: bool) -> list[str]:
    """A preview that is not on the machine, as after a restore: its slot does not show it."""
    run, shown = lease.run, surface.shown(slot)
    if run.status != Status.PREVIEW_READY or (shown and shown.run_id == str(run.pk)):
        return []
    text = f"{slot.slot_id} does not show run {run.pk}, which holds it"
    if not dry_run and branch_watch.prepare_anew(run):
        _mended(f"{text}: it is prepared anew", slot.slot_id, run)
    return [text]


def _free(config: Config, row: Slot, slot: SlotConfig, dry_run: bool) -> Iterator[str]:
    """Clean a slot that has no lease: out of the pool, so that nobody is granted it meanwhile."""
    left = leftovers(config, slot)
    if not left or dry_run:
        yield from left
        return
    with entered():
        if Lease.objects.filter(slot=row, state__in=ON_SLOT).exists():
            return
        quarantine(row, reason=f"being cleaned: {' '.join(left)}", actor=RECONCILER)
    row.refresh_from_db()
    try:
        cleanup.take_back(config, row, actor=RECONCILER)
    except Refused as refused:
        yield refused.detail
        return
    for sentence in left:
        yield _mended(sentence, slot.slot_id)


def _strangers(config: Config, dry_run: bool) -> Iterator[str]:
    """Processes that are not ours on ports that are; they are named, never touched."""
    manager = managers.manager(config)
    ports = {backend.unit_name(slot): slot.backend_port for slot in config.slots}
    ports |= {f"ouroboros-web@preview{slot.number}": slot.web_port for slot in config.slots}
    ports["ouroboros-web@main"] = config.web_port
    for name, port in ports.items():
        found = manager.status(name, port)
        if found.listening == "foreign":
            yield f"port {port} of {name} is held by {found.holder}, which is not ours"


def _gates(config: Config, dry_run: bool) -> Iterator[str]:
    """Databases and folders of gates whose run no longer ships."""
    from host.postgres.administration import Admin

    names = {guard.gate_name(run_id): run_id for run_id in _gate_folders(config)}
    with suppress(Refused):
        names |= {name: name.removeprefix(guard.gate_name("")) for name in Admin(config).names()}
    ids = {run_id for name, run_id in names.items() if name.startswith(guard.gate_name(""))}
    shipping = {
        str(pk) for pk in Run.objects.filter(status__in=SHIPPING).values_list("pk", flat=True)
    }
    for run_id in sorted(ids - shipping):
        text = f"the gate of run {run_id} was left behind"
        if not dry_run:
            merge_gate.close(config, Run(pk=UUID(run_id)))
            _mended(text)
        yield text


def _gate_folders(config: Config) -> list[str]:
    folder = config.var / "gates"
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _releases(config: Config, dry_run: bool) -> list[str]:
    """Production against the registry of releases."""
    found = reconcile_releases(config, dry_run)
    if found and not dry_run:
        lately = ClockTimestamp() - timedelta(seconds=TOLD_SECONDS)
        events = Event.objects.filter(kind="mended", run=None, text__in=found, at__gt=lately)
        told = set(events.values_list("text", flat=True))
        for sentence in found:
            if sentence not in told:
                _mended(sentence)
    return found
