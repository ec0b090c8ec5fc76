"""Restarts of a preview's processes that a person requests."""

import uuid

from django.conf import settings

from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.errors import Refused
from runs.engine.events import record_event
from runs.leasing import rules
from runs.leasing.cleanup import lock_slot
from runs.leasing.reservations import read_run_lease
from runs.models import Run
from runs.rules import require_reason
from slots.models import Lease
from slots.runtime import backend, database_commands, processes
from slots.runtime import spec as specs

LOCK_SECONDS = 5.0


def restart_processes(
    slot: SlotConfig,
    run_id: uuid.UUID,
    *,
    process: str,
    reason: str,
    actor: str,
    owner: str | None,
    fence: int | None = None,
) -> None:
    """Restart one process of the run's preview, or with "" all; its database is left alone.

    Returns once they are started: supervision restarts what ends again or does not answer. Also
    starts what was stopped by hand. `owner` must have created the run; None for an operator.
    Raises Refused `reason_required` (400), `process_unknown` (404), `lease_not_yours` (403),
    `not_holder`, LeaseFenced, `preview_not_ready`, `no_backend`, `slot_busy`, RunUnknown, and as
    `backend.begin_restart`.
    """
    require_reason(reason, "Say why the processes are restarted.")
    config = settings.OROBOROS
    with lock_slot(slot, Deadline(LOCK_SECONDS)) as is_locked:
        # Under the lock, which cleaning needs: what is restarted is still this run's.
        found = read_run_lease(run_id, config.host_name, slot.slot_id)
        rules.check_owner(found.created_by, owner)
        rules.check_restart(found, fence)
        if not is_locked:
            detail = f"Another process works on {slot.slot_id}; try again."
            raise Refused("slot_busy", detail)
        _check_process(slot, run_id, process)
        database_commands.check_database(config, slot)
        lease = Lease.objects.select_related("run").get(run=run_id, fence=found.fence)
        # Before the stop, so that supervision does not restart what starts slowly.
        seconds = config.get_integer("PREVIEW_START_SECONDS", backend.START_SECONDS)
        lease.excuse_silence(seconds=seconds)
        _restart(config, slot, lease.run, process, reason, actor)


def _check_process(slot: SlotConfig, run_id: uuid.UUID, process: str) -> None:
    spec = specs.read(slot)
    if spec.run_id != str(run_id):
        raise Refused("no_backend", rules.NO_PROCESSES)
    if process:
        processes.require(slot, spec, process)


def _restart(
    config: Config, slot: SlotConfig, run: Run, process: str, reason: str, actor: str
) -> None:
    what = f"the process {process}" if process else "every process"

    def record(kind: str, text: str) -> None:
        data = {"process": process, "reason": reason}
        record_event(kind, text, actor=actor, run=run, slot_id=slot.slot_id, **data)

    try:
        backend.begin_restart(config, slot, process)
    except Refused as refused:
        record("restart_failed", f"{what} of {slot.slot_id} was to restart: {refused.detail}")
        raise
    record("restarted", f"{what} of {slot.slot_id} was restarted: {reason}")
