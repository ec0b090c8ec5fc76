"""Supervision of the backends of previews: restart one that died, with delays; then fail its run.

The reconciler finds the dead backends. A task starts one again, because a start lasts until the
backend is healthy; it locks the slot, so that the slot is not granted to another run meanwhile.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django_q.tasks import async_task

from core.clock import get_database_time
from host import log_message
from host.app.process_types.process_environment import WEB
from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.errors import Refused
from runs.engine.events import RECONCILER, record_event
from runs.leasing import process_ends
from runs.leasing.cleanup import clean_and_finish, lock_slot
from runs.leasing.grants import grant_lock
from runs.leasing.leases import begin_ending
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState, find_restart_delay, is_restart_due, is_silence_due
from slots.runtime import backend, backend_log, disk_usage
from slots.runtime.processes import BackendStatus

START_SECONDS = 60.0
# After so long in good health the restarts of a backend are counted from 0 again.
HEALTHY_SECONDS = 60.0


def check_backends(config: Config) -> None:
    """Check the backends whose process has exited, without probing those that run.

    A probe may take seconds, and a dead backend must not wait for another one that hangs.
    """
    for lease in process_ends.list_supervised_leases(config):
        slot = config.slot(str(lease.slot))
        with suppress(Refused):  # an unreadable spec, of which the reconciler informs
            if backend.has_exited(config, slot):
                check_backend(config, slot, lease, dry_run=False)


def check_backend(config: Config, slot: SlotConfig, lease: Lease, *, dry_run: bool) -> list[str]:
    """Compare the slot's backend with its spec; restart it, or fail its run.

    Returns the problems as sentences; none for a backend that is healthy or was stopped by hand.
    """
    began = get_database_time()
    try:
        status = backend.status(config, slot)
    except Refused as refusal:  # an unreadable spec must not stop the checks of other slots
        return [refusal.detail]
    if not dry_run:
        # A start rotates the log; a backend that logs for hours between starts would fill the disk.
        backend_log.trim(config, slot)
    at = get_database_time()
    if status.matches_spec:
        if not dry_run:
            _mark_healthy(lease, at)
        return []
    if status.ended_processes and not backend.has_exited(config, slot):
        return []  # it is being restarted now
    problem = _describe_problem(slot, status)
    if dry_run:
        return [problem]
    process_ends.report_ends_of_slot(config, slot, lease)  # before the delay of a restart
    # A dead process is restarted at once; one that is silent gets UNHEALTHY_GRACE_SECONDS.
    unhealthy_at = None if status.ended_processes else lease.mark_unhealthy(began)
    if not is_restart_due(at, restart_at=lease.restart_at, unhealthy_at=unhealthy_at):
        _report_silence(lease, problem, at, began, unhealthy_at)
        return [problem]
    delay = find_restart_delay(lease.restarts)
    # The preview of a run that ships does not decide about it: its backend is started again.
    if delay is None and lease.run.status == Status.PREVIEW_READY:
        return [problem, *_fail_run(config, slot, lease, status, problem)]
    _schedule_restart(lease, delay, at, status, problem)
    return [f"{problem}; it is started again"]


def _report_silence(
    lease: Lease, problem: str, at: datetime, began: datetime, since: datetime | None
) -> None:
    """Record once that a backend which runs has not answered since then."""
    if since is None or not is_silence_due(
        at, began=began, restart_at=lease.restart_at, unhealthy_at=since
    ):
        return
    kind = "backend_silent"
    if not Event.objects.filter(run=lease.run, kind=kind, at__gte=since).exists():
        text = f"{problem}; it still runs, and is started again if this lasts"
        record_event(kind, text, actor=RECONCILER, run=lease.run, slot_id=str(lease.slot))


def _describe_problem(slot: SlotConfig, found: BackendStatus) -> str:
    for process in found.ended_processes:
        return process_ends.describe_end(slot, process)
    for process in found.silent_servers if found.health.ok else ():
        reason = "" if process.health is None else process.health.reason
        return f"the process {process.name} of {slot.slot_id} is not healthy: {reason}"
    return f"the backend of {slot.slot_id} is not healthy: {found.health.reason}"


def _list_failed(found: BackendStatus) -> list[str]:
    """Return the processes that a restart starts again."""
    silent = [WEB] if found.unit_status.is_active and not found.health.ok else []
    silent += [process.name for process in found.silent_servers]
    return [process.name for process in found.ended_processes] or silent


def _list_started(before: BackendStatus, after: BackendStatus) -> list[str]:
    """Return the processes that run now and not as before: they ended in between."""
    times = {one.name: one.unit_status.start_time for one in before.all_processes}
    return [
        one.name
        for one in after.all_processes
        if one.is_active and one.unit_status.start_time != times.get(one.name)
    ]


def _mark_healthy(lease: Lease, at: datetime) -> None:
    restart_at = lease.restart_at
    is_stable = restart_at is not None and restart_at <= at - timedelta(seconds=HEALTHY_SECONDS)
    lease.mark_healthy(forget_restarts=is_stable)


def _is_end_reported(found: BackendStatus) -> bool:
    """Return whether what is wrong is an end, which is reported, and not silence."""
    ended = found.ended_processes
    # Without a start time it was not started since it was stopped: there was no end to report.
    return bool(ended) and all(one.unit_status.start_time is not None for one in ended)


def _schedule_restart(
    lease: Lease, delay: float | None, at: datetime, found: BackendStatus, problem: str
) -> None:
    """Enqueue one restart, even if two processes found the problem."""
    # Until the start itself can have ended: the next pass must not count another restart.
    wait = timedelta(seconds=START_SECONDS + (delay or 0.0))
    with grant_lock():
        if not lease.count_restart(next_at=at + wait):
            return
        if not _is_end_reported(found):
            record_event(
                "backend_down", problem, actor=RECONCILER, run=lease.run, slot_id=str(lease.slot)
            )
        async_task("runs.leasing.backend_supervision.restart_backend", lease.pk, lease.restarts)


def restart_backend(lease_id: int, number: int) -> None:
    """Start the backend of a lease again, if its `number`th restart is still the latest one."""
    config = settings.OROBOROS
    current = Lease.objects.on_host(config.host_name).filter(
        pk=lease_id, state=LeaseState.HELD, restarts=number
    )
    lease = current.select_related("slot", "run").first()
    if lease is None or lease.slot is None:
        return
    slot = config.slot(lease.slot.slot_id)
    with lock_slot(slot, Deadline(START_SECONDS)) as is_locked:
        # The lease may have ended, or another restart begun, while this one waited for the lock.
        if not is_locked or not current.exists():
            return
        # What has ended since the restart was enqueued is started as well.
        process_ends.report_ends_of_slot(config, slot, lease)
        text = f"the backend of {slot.slot_id} was started again"
        try:
            present = backend.status(config, slot)
            failed = [] if present.matches_spec else _list_failed(present)
            lease.count_processes(failed)
            revived = backend.revive(config, slot, seconds=START_SECONDS)
            lease.count_processes({*_list_started(present, revived)}.difference(failed))
        except Refused as refused:
            text = f"{text} and failed: {refused.detail}"
    lease.finish_restart(delay=timedelta(seconds=find_restart_delay(number) or 0.0))
    record_event("backend_restarted", text, actor=RECONCILER, run=lease.run, slot_id=slot.slot_id)


def check_disk_usage(config: Config) -> None:
    """Fail the runs whose previews use more disk space than their quota."""
    slots = {slot.slot_id: slot for slot in config.slots}
    held = Lease.objects.on_host(config.host_name).filter(
        state=LeaseState.HELD, slot__slot_id__in=slots, run__status=Status.PREVIEW_READY
    )
    for lease in held.select_related("run", "slot"):
        slot = slots[str(lease.slot)]
        places = disk_usage.list_slot_places(config, slot)
        excess = disk_usage.describe_excess(config, slot.slot_id, places)
        if excess:
            _end_run(config, slot, lease, excess, "DISK_FULL")


def _fail_run(
    config: Config, slot: SlotConfig, lease: Lease, found: BackendStatus, problem: str
) -> list[str]:
    """Fail the run with what the log of its backend or process says, unless it moved or is claimed.

    The text of a problem with a process quotes its log already.
    """
    failed = [one.name for one in (*found.ended_processes, *found.silent_servers)]
    is_process = found.unit_status.is_active and bool(failed)
    message = "" if is_process else log_message.read_message(backend_log.path(config, slot))
    says = f" Its log says:\n{message}" if message else ""
    name = f"process {failed[0]}" if is_process else "backend"
    detail = f"The {name} was restarted {lease.restarts} times: {problem}{says}"
    code = "PROCESS_DIED" if is_process else "BACKEND_UNHEALTHY"
    if not _end_run(config, slot, lease, detail, code):
        return []
    return [f"run {lease.run_id} failed: its {name} crashed repeatedly"]


def _end_run(config: Config, slot: SlotConfig, lease: Lease, detail: str, code: str) -> bool:
    """Fail the run and clean its slot; False if it moved or is claimed."""
    with grant_lock():
        run = Run.objects.select_for_update().get(pk=lease.run_id)
        if run.status != Status.PREVIEW_READY or run.is_claimed(get_database_time()):
            return False
        record_event("failed", detail, actor=RECONCILER, run=run, slot_id=slot.slot_id)
        to_clean = begin_ending(run, reason=detail, to=Status.FAILED, code=code, actor=RECONCILER)
    clean_and_finish(config, to_clean)
    return True
