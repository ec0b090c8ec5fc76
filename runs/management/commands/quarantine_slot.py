"""A slot that is out of the pool until somebody has looked."""

from django.conf import settings

from runs.leasing.cleanup import take_back
from runs.leasing.maintenance import quarantine
from runs.slot_command import SlotCommand


class Command(SlotCommand):
    help = "Take a slot out of the pool with a --reason, or --undo: clean it and grant it again."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--reason", default="")
        parser.add_argument("--undo", action="store_true", help="clean it and grant it again")

    def act(self, slot, *, actor, reason, undo, **options):
        if undo:
            take_back(settings.OROBOROS, slot, actor=actor)
            return f"{slot} is clean and granted again"
        quarantine(slot, reason=reason, actor=actor)
        return f"{slot} is quarantined"
