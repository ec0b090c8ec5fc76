"""The reconciler: compares the records with the machine, and repairs what differs.

Idempotent: the queue, the supervisor and a systemd timer run it, possibly at the same time. Each
difference is returned as a sentence, and each repair is an event as well.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.db.models import Q, Subquery
from django.db.models.functions import Coalesce

from core.clock import ClockTimestamp, get_database_time
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import var_folders
from host.postgres import guard
from host.units import control_units, foreign_listeners, managers
from host.units.foreign_listeners import ForeignListeners
from host.units.stack_ports import POSTGRES, list_ports
from releases.deployments import reconciler as deployments
from releases.production import gate_start
from runs import merge_queue
from runs.engine.events import RECONCILER, record_event
from runs.leasing import backend_supervision, cleanup, process_ends, reaper
from runs.lifecycle import branch_watch, execution, retention
from runs.models import Event, Precheck, Run
from runs.pipelines import merge_gate
from runs.rules import SHIPPING, Status
from slots.models import Lease, Slot
from slots.rules import STATES_WITH_SLOT, LeaseState
from slots.runtime import surface, web_units
from slots.runtime.cleanup import find_leftovers

# A difference that every pass finds again, such as a colour that does not start, is an event only
# once in this time.
REPEAT_EVENT_SECONDS = 600

Check = Callable[[Config, bool], Iterator[str]]


def reconcile(config: Config, dry_run: bool = False) -> list[str]:
    """Repair what differs, unless `dry_run`. Returns what was found, as sentences."""
    checks: tuple[Check, ...] = (
        _end_expired_leases,
        _finish_cleaning,
        _enqueue_abandoned_runs,
        _end_foreign_listeners,
        _check_slots,
        _report_foreign_listeners,
        _remove_abandoned_gates,
        _remove_templates,
        _remove_abandoned_folders,
        _check_production,
        _continue_deployments,
    )
    return [sentence for check in checks for sentence in check(config, dry_run)]


def repair_quickly(config: Config) -> list[str]:
    """Repair what people would notice within seconds: slots and their backends."""
    checks: tuple[Check, ...] = (_finish_cleaning, _end_listeners, _check_slots)
    sentences = [sentence for check in checks for sentence in check(config, False)]
    return [*sentences, *merge_queue.sync_rollback_freeze(config)]


def repair_production(config: Config) -> list[str]:
    """Repair production, where people would notice it within seconds."""
    return list(_check_production(config, False))


def start_dead_units(config: Config) -> list[str]:
    """Start the surfaces, the router and the API if they died, where systemd does not."""
    names = web_units.start_dead_units(config)
    if control_units.start_if_dead(config, control_units.API):
        names.append(control_units.API)
    return [_record_repair(f"{name} had died: started again") for name in names]


def continue_deployments(config: Config) -> list[str]:
    """Finish or undo the deployments whose process was killed; takes as long as a health gate."""
    return list(_continue_deployments(config, False))


def _record_repair(text: str, slot_id: str = "", run: Run | None = None) -> str:
    record_event("repaired", text, actor=RECONCILER, run=run, slot_id=slot_id)
    return text


def _end_expired_leases(config: Config, dry_run: bool) -> Iterator[str]:
    if dry_run:
        slot_ids = [str(lease.slot) for lease in reaper.list_expired_leases()]
    else:
        slot_ids = reaper.reap_expired(RECONCILER).slot_ids
    for slot_id in slot_ids:
        yield f"the lease on {slot_id} had expired"


def _finish_cleaning(config: Config, dry_run: bool) -> Iterator[str]:
    """Clean the slots whose cleanup was interrupted.

    A run that was requested to stop is left to its worker, which ends its processes first.
    """
    # The process that ended the lease may still be cleaning for so long.
    since = get_database_time() - timedelta(seconds=cleanup.CLEAN_SECONDS)
    abandoned = Lease.objects.on_host(config.host_name).filter(
        ~Q(run__status__in=(Status.PREPARING, Status.PREVIEW_READY, *SHIPPING))
        # Its slot was taken by force; the worker goes on and does not clean it.
        | Q(run__status=Status.DEPLOYING),
        state=LeaseState.ENDING,
        ending_at__lte=since,
    )
    for lease in abandoned.select_related("slot", "run"):
        text = f"{lease.slot} was not cleaned after its lease"
        if not dry_run and cleanup.clean_and_finish(config, lease):
            _record_repair(text, str(lease.slot), lease.run)
        yield text


def _enqueue_abandoned_runs(config: Config, dry_run: bool) -> Iterator[str]:
    """Enqueue the runs whose worker stopped renewing its claim."""
    ours = Run.objects.on_host(config.host_name)
    abandoned = ours.unfinished().filter(claim_expires_at__lt=get_database_time())
    for run in abandoned:
        yield f"the claim of {run.claim_owner} on run {run.pk} has expired"
    if not dry_run:
        execution.enqueue_unclaimed_runs()


def _check_slots(config: Config, dry_run: bool) -> Iterator[str]:
    """Compare backends, worktrees, databases and surfaces with the leases."""
    leases = Lease.objects.filter(state__in=STATES_WITH_SLOT).select_related("run", "slot")
    held = {lease.slot_id: lease for lease in leases}
    known = {slot.slot_id: slot for slot in config.slots}
    ours = Slot.objects.on_host(config.host_name).filter(slot_id__in=known)
    for row in ours.filter(Q(quarantined_at=None) | Q(is_being_cleaned=True)):
        slot, lease = known[row.slot_id], held.get(row.pk)
        if lease is None:
            yield from _clean_free_slot(config, row, slot, dry_run)
        elif lease.state == LeaseState.HELD and lease.run.status != Status.PREPARING:
            missing = _prepare_missing_preview(slot, lease, dry_run)
            yield from missing or backend_supervision.check_backend(
                config, slot, lease, dry_run=dry_run
            )


def _prepare_missing_preview(slot: SlotConfig, lease: Lease, dry_run: bool) -> list[str]:
    """Prepare a preview again that is not on the machine, as after a restore from a backup."""
    run, state = lease.run, surface.read_state(slot)
    if run.status != Status.PREVIEW_READY or (state and state.run_id == str(run.pk)):
        return []
    text = f"{slot.slot_id} does not show run {run.pk}, which holds it"
    if not dry_run and branch_watch.prepare_again(run):
        _record_repair(f"{text}: it is prepared again", slot.slot_id, run)
    return [text]


def _clean_free_slot(config: Config, row: Slot, slot: SlotConfig, dry_run: bool) -> Iterator[str]:
    """Clean a slot that has no lease, also if the process that began to do so was killed."""
    leftovers = find_leftovers(config, slot)
    if row.is_being_cleaned and not leftovers:
        leftovers = [f"The cleaning of {slot.slot_id} was interrupted."]
    if not leftovers or dry_run:
        yield from leftovers
        return
    reason = f"being cleaned: {' '.join(leftovers)}"
    try:
        is_cleaned = cleanup.clean_free_slot(config, row, reason=reason, actor=RECONCILER)
    except Refused as refused:
        yield refused.detail
        return
    for sentence in leftovers if is_cleaned else ():
        yield _record_repair(sentence, slot.slot_id)


def free_local_ports(config: Config) -> list[str]:
    """End the applications that use up the host's local ports.

    First, and without the database, to which a new connection may need such a port.
    """
    ended = foreign_listeners.end_port_exhaustion(config)
    return list(_record_ended(config, ended, False))


def _end_foreign_listeners(config: Config, dry_run: bool) -> Iterator[str]:
    """End applications' processes that hold a port of ours which is not their own."""
    ended = foreign_listeners.end_foreign_listeners(config, dry_run=dry_run)
    yield from _record_ended(config, ended, dry_run)


def _end_listeners(config: Config, dry_run: bool) -> Iterator[str]:
    """As above, but only those that listen: what else holds a port waits for the next pass."""
    ended = foreign_listeners.end_foreign_listeners(config, dry_run=dry_run, is_quick=True)
    yield from _record_ended(config, ended, dry_run)


def _record_ended(config: Config, ended: list[ForeignListeners], dry_run: bool) -> Iterator[str]:
    """Record what was ended, with its run. What stays, as a job under systemd may, is one too."""
    for foreign in ended:
        if foreign.is_ended:
            held = Lease.objects.filter(state=LeaseState.HELD, slot__slot_id=foreign.slot_id)
            lease = held.on_host(config.host_name).select_related("run").first()
            run = None if lease is None else lease.run
            _record_repair(foreign.text, foreign.slot_id, run)
            yield foreign.text
        else:
            yield from _record_new([foreign.text], dry_run)


def _report_foreign_listeners(config: Config, dry_run: bool) -> Iterator[str]:
    """Name the processes on our ports that are not ours. Only applications' are ended."""
    manager = managers.get_manager(config)
    for _, port, name in list_ports(config):
        if name == POSTGRES:
            continue
        status = manager.status(name, port)
        if status.listening == "foreign":
            yield f"port {port} of {name} is held by {status.port_holder}, which is not ours"


def _remove_abandoned_gates(config: Config, dry_run: bool) -> Iterator[str]:
    """Remove the gates of runs that no longer ship, and of prechecks that have ended."""
    from host.postgres.administration import DatabaseAdmin

    admin = DatabaseAdmin(config)
    run_ids = [*_list_gate_folders(config), *gate_start.list_run_ids(config)]
    names = {guard.gate_name(run_id): run_id for run_id in run_ids}
    with suppress(Refused):  # without the database server there are still the folders
        names |= {
            name: name.removeprefix(guard.gate_name(""))
            for name in (*admin.list_pipeline_databases(), *admin.list_own_roles())
        }
    ids = {run_id for name, run_id in names.items() if name.startswith(guard.gate_name(""))}
    # Read after the gates: the run of a gate that was found began to ship before this query.
    shipping = {
        str(pk) for pk in Run.objects.filter(status__in=SHIPPING).values_list("pk", flat=True)
    }
    prechecks = {str(pk) for pk in Precheck.objects.open().values_list("pk", flat=True)}
    for run_id in sorted(ids - shipping - prechecks):
        text = f"the merge gate of run {run_id} was not removed"
        if not dry_run:
            merge_gate.remove_gate(config, UUID(run_id))
            _record_repair(text)
        yield text


def _remove_templates(config: Config, dry_run: bool) -> Iterator[str]:
    """Keep the cap on template databases. Hourly would be too late: each merge makes one."""
    with suppress(Refused):  # without the database server
        yield from retention.remove_templates(config, dry_run)


def _remove_abandoned_folders(config: Config, dry_run: bool) -> Iterator[str]:
    """Delete the homes and scratch folders of processes that were killed."""
    for path in var_folders.remove_abandoned_folders(config, dry_run):
        text = f"var/{path} was left by a process that has ended"
        yield text if dry_run else _record_repair(text)


def _list_gate_folders(config: Config) -> list[str]:
    folder = config.var / "gates"
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _check_production(config: Config, dry_run: bool) -> Iterator[str]:
    """Compare production with the releases' records."""
    if not dry_run:
        process_ends.report_ends_of_production(config)  # what has ended is started again below
    yield from _record_new(deployments.repair_production(config, dry_run), dry_run)


def _continue_deployments(config: Config, dry_run: bool) -> Iterator[str]:
    """Finish or undo the deployments whose process was killed."""
    yield from _record_new(deployments.continue_interrupted_deployments(config, dry_run), dry_run)


def _record_new(differences: list[str], dry_run: bool) -> list[str]:
    """Record the differences that were not recorded lately, and return all.

    After an end of a process they are recorded once more.
    """
    if differences and not dry_run:
        recent = ClockTimestamp() - timedelta(seconds=REPEAT_EVENT_SECONDS)
        events = Event.objects.filter(run=None, at__gt=recent)
        ends = events.filter(kind="process_ended").order_by("-pk").values("pk")[:1]
        since = Coalesce(Subquery(ends), 0)
        repaired = events.filter(kind="repaired", text__in=differences, pk__gt=since)
        recorded = set(repaired.values_list("text", flat=True))
        for sentence in differences:
            if sentence not in recorded:
                _record_repair(sentence)
    return differences
