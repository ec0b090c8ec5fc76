"""From fenced to free: a slot whose lease is over is cleaned, then handed on.

One process cleans a slot at a time, and only while the lease it cleans for is still ending: a late
cleaner must never meet the next run. The lock is a file's, since cleaning is this host's work and
must not outlive whoever does it.
"""

import time
from contextlib import AbstractContextManager

from django.db.models import F

from core.clock import ClockTimestamp
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import file_lock
from runs.engine.journal import WORKER, record
from runs.leasing.grants import entered
from runs.leasing.maintenance import quarantine, unquarantine
from slots.models import Lease, Slot
from slots.rules import LeaseState
from slots.runtime.cleanup import clean

CLEAN_SECONDS = 20.0
LOOK_SECONDS = 0.2
# After so many vain cleanings, each up to CLEAN_SECONDS, the slot is quarantined.
CLEANINGS = 5


def clean_and_finish(config: Config, lease: Lease | None, deadline: float = CLEAN_SECONDS) -> bool:
    """Clean the slot of a lease that is ending, end the lease, grant to the next in line.

    Tries for `deadline` seconds. What is not clean by then stays `cleaning` for the worker's next
    try; after CLEANINGS tries the slot is quarantined with the reason. Returns whether the lease
    is over.
    """
    if lease is None or lease.slot is None:
        return True
    slot = config.slot(lease.slot.slot_id)
    until = time.monotonic() + deadline
    with only_one(slot, until) as is_ours:
        if not is_ours:
            return False
        if not Lease.objects.filter(pk=lease.pk, state=LeaseState.ENDING).exists():
            return True
        left = _cleaned(config, slot, until)
        if not left:
            finish_ending(lease)
            return True
        return _not_clean(lease, lease.slot, left)


def only_one(slot: SlotConfig, until: float) -> AbstractContextManager[bool]:
    """Be the only one to clean or restart what is on the slot; False if another is until then.

    While it is held, the slot of a lease that ends is not handed on.
    """
    path = slot.folder.parent / f"{slot.slot_id}.cleaning"
    return file_lock.held(path, seconds=until - time.monotonic())


def _cleaned(config: Config, slot: SlotConfig, until: float) -> list[str]:
    """Clean until nothing is left or the time is over; returns what is left, as sentences."""
    while True:
        left = clean(config, slot)
        if not left or time.monotonic() > until:
            return left
        time.sleep(LOOK_SECONDS)


def finish_ending(lease: Lease) -> None:
    """End a lease whose slot is clean; the next waiter is granted in the same transaction."""
    with entered() as pool:
        ending = Lease.objects.filter(pk=lease.pk, state=LeaseState.ENDING)
        if ending.update(state=LeaseState.ENDED, ended_at=ClockTimestamp()) == 1:
            pool.grant()


def _not_clean(lease: Lease, slot: Slot, left: list[str]) -> bool:
    reason = "; ".join(left)
    Lease.objects.filter(pk=lease.pk).update(cleanings=F("cleanings") + 1)
    lease.refresh_from_db(fields=["cleanings"])
    if lease.cleanings < CLEANINGS:
        record("not_clean", reason, actor=WORKER, run=lease.run, slot_id=slot.slot_id)
        return False
    with entered():
        quarantine(slot, reason=reason, actor=WORKER)
        finish_ending(lease)
    return True


def take_back(config: Config, slot: Slot, *, actor: str) -> bool:
    """Clean a quarantined slot and hand it out again. False if it was not quarantined.

    A run that still holds the slot keeps what it has there: then nothing is cleaned. Raises Refused
    `not_clean` with what is left, `slot_busy` while another cleans it.
    """
    if slot.quarantined_at is None:
        return False
    place, until = config.slot(slot.slot_id), time.monotonic() + CLEAN_SECONDS
    with only_one(place, until) as is_ours:
        if not is_ours:
            raise Refused("slot_busy", f"Another process cleans {slot.slot_id}; try again.")
        is_held = Lease.objects.filter(slot=slot, state=LeaseState.HELD).exists()
        left = [] if is_held else _cleaned(config, place, until)
        if left:
            raise Refused("not_clean", f"{slot.slot_id} stays quarantined: {'; '.join(left)}.")
        return unquarantine(slot, actor=actor)
