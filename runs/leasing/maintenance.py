"""What operators do to slots: quarantine and drain them, and undo both."""

from runs.engine.events import record_event
from runs.leasing.grants import grant_lock
from runs.rules import require_reason
from slots.models import Slot


def quarantine(slot: Slot, *, reason: str, actor: str) -> bool:
    """Stop granting the slot until it is returned to service. False if it was quarantined already.

    A slot that the reconciler cleans is quarantined: it is not granted when it is clean.

    Raises Refused `reason_required` (400).
    """
    require_reason(reason, "Say why the slot is quarantined.")
    # Under the lock: once this returns, no grant that had begun before gives the slot away.
    with grant_lock():
        if not slot.quarantine(reason=reason):
            return False
        text = f"{slot.slot_id} is quarantined: {reason}"
        record_event("quarantined", text, actor=actor, slot_id=slot.slot_id)
    return True


def unquarantine(slot: Slot, *, actor: str) -> bool:
    """Grant the slot again. False if it was not quarantined."""
    with grant_lock() as granting:
        if not slot.end_quarantine():
            return False
        text = f"{slot.slot_id} is granted again"
        record_event("unquarantined", text, actor=actor, slot_id=slot.slot_id)
        granting.grant_slots()
    return True


def end_cleaning(slot: Slot) -> bool:
    """Grant a slot that is clean again. False if a person has quarantined it meanwhile."""
    with grant_lock() as granting:
        if not slot.end_cleaning():
            return False
        granting.grant_slots()
    return True


def drain(slot: Slot, *, reason: str, actor: str) -> bool:
    """Stop granting the slot; its holder keeps it. False if it was drained already."""
    with grant_lock():
        if not slot.drain(reason=reason, actor=actor):
            return False
        text = f"{slot.slot_id} is drained" + (f": {reason}" if reason else "")
        record_event("drained", text, actor=actor, slot_id=slot.slot_id)
    return True


def undrain(slot: Slot, *, actor: str) -> bool:
    """Grant the slot again. False if it was not drained."""
    with grant_lock() as granting:
        if not slot.undrain():
            return False
        text = f"{slot.slot_id} is granted again"
        record_event("undrained", text, actor=actor, slot_id=slot.slot_id)
        granting.grant_slots()
    return True
