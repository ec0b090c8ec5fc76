"""Make the rows of the configured slots."""

from django.conf import settings
from django.core.management.base import BaseCommand

from slots.models import Slot


class Command(BaseCommand):
    help = "Make a row for every configured slot of this host that has none. May be repeated."

    def handle(self, **options: object) -> None:
        created = [slot_id for slot_id, is_new in sync() if is_new]
        self.stdout.write(f"made {', '.join(created)}" if created else "every slot has its row")


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
