"""Quarantine a slot: it is not granted until a person has examined it."""

from django.conf import settings

from runs.leasing.cleanup import return_to_service
from runs.leasing.maintenance import quarantine
from runs.slot_command import SlotCommand


class Command(SlotCommand):
    help = "Do not grant a slot, with a --reason, or --undo: clean it and grant it again."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--reason", default="")
        parser.add_argument("--undo", action="store_true", help="clean it and grant it again")

    def act(self, slot, *, actor, reason, undo, **options):
        if undo:
            return_to_service(settings.OROBOROS, slot, actor=actor)
            return f"{slot} is clean and granted again"
        quarantine(slot, reason=reason, actor=actor)
        return f"{slot} is quarantined"
