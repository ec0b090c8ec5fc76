"""Drain a slot: its holder keeps it, and it is not granted again."""

from runs.leasing.maintenance import drain, undrain
from runs.slot_command import SlotCommand


class Command(SlotCommand):
    help = "Grant a slot to no other run while its holder keeps it, or --undo. May be repeated."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--reason", default="")
        parser.add_argument("--undo", action="store_true", help="grant it again")

    def act(self, slot, *, actor, reason, undo, **options):
        if undo:
            undrain(slot, actor=actor)
            return f"{slot} is granted again"
        drain(slot, reason=reason, actor=actor)
        return f"{slot} is drained"
