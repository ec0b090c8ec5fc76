"""Make the rows of the configured slots, and drain those that are not configured any more."""

from django.conf import settings
from django.core.management.base import BaseCommand

from slots.models import Slot

ACTOR = "sync_slots"


class Command(BaseCommand):
    help = (
        "Make a row for every configured slot of this host that has none, and drain the slots "
        "above OROBOROS_SLOTS: their holders keep them. May be repeated."
    )

    def handle(self, **options: object) -> None:
        created = [slot_id for slot_id, is_new in sync() if is_new]
        self.stdout.write(f"made {', '.join(created)}" if created else "every slot has its row")
        drained, granted = drain_others()
        for words, slot_ids in (("drained", drained), ("granted again", granted)):
            if slot_ids:
                self.stdout.write(f"{words}: {', '.join(slot_ids)}")


def sync() -> list[tuple[str, bool]]:
    """Return the configured slots' ids and whether each row was made just now."""
    config = settings.OROBOROS
    slots = []
    for slot in config.slots:
        _, is_new = Slot.objects.get_or_create(
            host=config.host_name, slot_id=slot.slot_id, defaults={"number": slot.number}
        )
        slots.append((slot.slot_id, is_new))
    return slots


def drain_others() -> tuple[list[str], list[str]]:
    """Drain the slots above OROBOROS_SLOTS, and end that of those that it has again.

    Returns the ids of the slots that were drained, and of those that are granted again.
    """
    config = settings.OROBOROS
    ours, reason = Slot.objects.on_host(config.host_name), f"OROBOROS_SLOTS is {config.slot_count}"
    above = ours.filter(number__gt=config.slot_count)
    drained = [slot.slot_id for slot in above if slot.drain(reason=reason, actor=ACTOR)]
    within = ours.filter(number__lte=config.slot_count, drained_by=ACTOR)
    return drained, [slot.slot_id for slot in within if slot.undrain()]
