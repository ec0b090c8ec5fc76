"""What operators do to slots as places: quarantine and drain, and take both back."""

from core.clock import ClockTimestamp
from host.errors import Refused
from runs.engine.journal import record
from runs.leasing.grants import entered
from slots.models import Slot


def quarantine(slot: Slot, *, reason: str, actor: str) -> bool:
    """Never hand the slot out until somebody releases it. False if it was quarantined already."""
    if not reason.strip():
        raise Refused("reason_required", "Say why the slot is quarantined.", status=400)
    with entered():
        found = Slot.objects.filter(pk=slot.pk, quarantined_at=None)
        if not found.update(quarantined_at=ClockTimestamp(), quarantine_reason=reason):
            return False
        text = f"{slot.slot_id} is quarantined: {reason}"
        record("quarantined", text, actor=actor, slot_id=slot.slot_id)
    return True


def unquarantine(slot: Slot, *, actor: str) -> bool:
    """Hand the slot out again, once somebody has looked. False if it was not quarantined."""
    with entered() as pool:
        found = Slot.objects.filter(pk=slot.pk, quarantined_at__isnull=False)
        if not found.update(quarantined_at=None, quarantine_reason=""):
            return False
        record("unquarantined", f"{slot.slot_id} is back", actor=actor, slot_id=slot.slot_id)
        pool.grant()
    return True


def drain(slot: Slot, *, reason: str, actor: str) -> bool:
    """Grant the slot to nobody else; its holder keeps it. False if it was drained already."""
    with entered():
        fields = {"drained_at": ClockTimestamp(), "drained_by": actor, "drain_reason": reason}
        if not Slot.objects.filter(pk=slot.pk, drained_at=None).update(**fields):
            return False
        text = f"{slot.slot_id} is drained" + (f": {reason}" if reason else "")
        record("drained", text, actor=actor, slot_id=slot.slot_id)
    return True


def undrain(slot: Slot, *, actor: str) -> bool:
    """Grant the slot again. False if it was not drained."""
    with entered() as pool:
        found = Slot.objects.filter(pk=slot.pk, drained_at__isnull=False)
        if not found.update(drained_at=None, drained_by="", drain_reason=""):
            return False
        record("undrained", f"{slot.slot_id} is granted again", actor=actor, slot_id=slot.slot_id)
        pool.grant()
    return True
