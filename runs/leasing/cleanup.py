"""Cleaning a slot whose lease was fenced, after which it is granted to the next run.

One process at a time cleans a slot, and only while the lease that it cleans up after is still
ending: otherwise a slow cleaner could destroy what the next run has there. The lock is a file's,
because cleaning is the work of one host, and because the kernel drops it if its holder dies.
"""

from contextlib import AbstractContextManager

from host.config import Config, SlotConfig
from host.deadline import Deadline, wait_until
from host.errors import Refused
from host.files.file_lock import file_lock
from runs.engine.events import WORKER, record_event
from runs.leasing.grants import grant_lock
from runs.leasing.maintenance import end_cleaning, quarantine, unquarantine
from slots.models import Lease, LeaseMoveRefused, Slot
from slots.rules import STATES_WITH_SLOT, LeaseState
from slots.runtime.cleanup import clean_slot

CLEAN_SECONDS = 20.0
RETRY_SECONDS = 0.2
# Failed cleanups, each of up to CLEAN_SECONDS, after which the slot is quarantined.
MAX_CLEANUPS = 5


def clean_and_finish(config: Config, lease: Lease | None, seconds: float = CLEAN_SECONDS) -> bool:
    """Clean the slot of a lease that is ending, end the lease, and grant the slot to the next run.

    Tries for `seconds`. A slot that is not clean by then stays `cleaning` until the worker tries
    again; after MAX_CLEANUPS it is quarantined. A lease on another host's slot is left to that
    host. Returns whether the lease is over.
    """
    if lease is None or lease.slot is None:
        return True
    if lease.slot.host != config.host_name:
        return False
    deadline = Deadline(seconds)
    with lock_slot(config.slot(lease.slot.slot_id), deadline) as is_locked:
        return is_locked and _clean_locked(config, lease, lease.slot, deadline)


def _clean_locked(config: Config, lease: Lease, slot: Slot, deadline: Deadline) -> bool:
    # Another process may have cleaned the slot while this one waited; by now another run may
    # hold it.
    if not Lease.objects.filter(pk=lease.pk, state=LeaseState.ENDING).exists():
        return True
    leftovers = _clean_until(config, config.slot(slot.slot_id), deadline)
    if leftovers:
        return _record_failure(lease, slot, leftovers)
    finish_ending(lease)
    return True


def lock_slot(slot: SlotConfig, deadline: Deadline) -> AbstractContextManager[bool]:
    """Lock what is on the slot against other cleanups and restarts; False if that takes too long.

    While it is locked, the slot of an ending lease is not granted to the next run.
    """
    # Beside the slot's folder: cleaning deletes what is inside it.
    path = slot.folder.parent / f"{slot.slot_id}.cleaning"
    return file_lock(path, seconds=deadline.seconds_left)


def _clean_until(config: Config, slot: SlotConfig, deadline: Deadline) -> list[str]:
    """Clean until nothing is left or the deadline has passed; returns the leftovers."""
    leftovers: list[str] = []

    def is_clean() -> bool:
        leftovers[:] = clean_slot(config, slot)
        return not leftovers

    wait_until(is_clean, seconds=deadline.seconds_left, interval=RETRY_SECONDS)
    return leftovers


def finish_ending(lease: Lease) -> None:
    """End a lease whose slot is clean, and grant the slot in the same transaction."""
    with grant_lock() as granting:
        try:
            lease.finish_ending()
        except LeaseMoveRefused:  # another process finished it first
            return
        granting.grant_slots()


def _record_failure(lease: Lease, slot: Slot, leftovers: list[str]) -> bool:
    reason = "; ".join(leftovers)
    if lease.count_cleanup() < MAX_CLEANUPS:
        record_event("not_clean", reason, actor=WORKER, run=lease.run, slot_id=slot.slot_id)
        return False
    with grant_lock():
        # Before the lease ends: ending it grants every free slot that is not quarantined.
        quarantine(slot, reason=reason, actor=WORKER)
        finish_ending(lease)
    return True


def return_to_service(config: Config, slot: Slot, *, actor: str) -> bool:
    """Clean a quarantined slot and grant it again. False if it was not quarantined.

    If a run still holds the slot, nothing is cleaned. Raises Refused `not_clean` with the
    leftovers, `slot_busy` while another process cleans it.
    """
    if slot.quarantined_at is None:
        return False
    slot_config, deadline = config.slot(slot.slot_id), Deadline(CLEAN_SECONDS)
    with lock_slot(slot_config, deadline) as is_locked:
        if not is_locked:
            raise Refused("slot_busy", f"Another process cleans {slot.slot_id}; try again.")
        # A slot may be quarantined while a run holds it; nothing of that run is removed.
        is_held = Lease.objects.filter(slot=slot, state=LeaseState.HELD).exists()
        leftovers = [] if is_held else _clean_until(config, slot_config, deadline)
        if leftovers:
            detail = f"{slot.slot_id} stays quarantined: {'; '.join(leftovers)}."
            raise Refused("not_clean", detail)
        return unquarantine(slot, actor=actor)


def clean_free_slot(config: Config, slot: Slot, *, reason: str, actor: str) -> bool:
    """Clean a slot that no lease has; it is not granted meanwhile. Returns whether it was cleaned.

    Nothing is done while another process cleans it, once it is granted, or if a person has
    quarantined it. If this process is killed, the slot's row says that it is being cleaned, and the
    next call begins again. Raises Refused `not_clean`; the slot is then quarantined for a person.
    """
    slot_config = config.slot(slot.slot_id)
    with lock_slot(slot_config, Deadline(0)) as is_locked:
        if not is_locked or not _begin_cleaning(slot, reason):
            return False
        leftovers = _clean_until(config, slot_config, Deadline(CLEAN_SECONDS))
        if leftovers:
            quarantine(slot, reason="; ".join(leftovers), actor=actor)
            detail = f"{slot.slot_id} stays quarantined: {'; '.join(leftovers)}."
            raise Refused("not_clean", detail)
        return end_cleaning(slot)


def _begin_cleaning(slot: Slot, reason: str) -> bool:
    with grant_lock():
        # The slot may have been granted since it was examined.
        is_taken = Lease.objects.filter(slot=slot, state__in=STATES_WITH_SLOT).exists()
        return not is_taken and slot.begin_cleaning(reason=reason)
