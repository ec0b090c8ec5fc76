"""Release a slot for the run that holds it."""

from django.conf import settings

from runs.leasing import reservations
from runs.slot_command import SlotCommand
from slots.models import Lease
from slots.rules import LeaseState


class Command(SlotCommand):
    help = "Release a slot for the run that holds it, clean it, grant the next. May be repeated."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="even if the run is shipping")
        parser.add_argument("--reason", default="", help="required with --force")

    def act(self, slot, *, actor, force, reason, **options):
        lease = Lease.objects.filter(slot=slot, state=LeaseState.HELD).first()
        if lease is None:
            return f"no run holds {slot}"
        config = settings.OROBOROS
        reservations.release(
            config.slot(slot.slot_id),
            lease.run_id,
            actor=actor,
            owner=None,
            fence=lease.fence,
            force=force,
            reason=reason,
        )
        return f"{slot} was released for run {lease.run_id}"
