"""What the shell's commands on slots share."""

from abc import ABC, abstractmethod
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from host.errors import Refused
from releases.json_command import shell_actor
from slots.models import Slot


class SlotCommand(BaseCommand, ABC):
    """A command on one slot: says what it did in a line; a refusal is an error for people."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slot_id")

    def handle(self, *, slot_id: str, **options: Any) -> None:
        try:
            known = settings.OROBOROS.slot(slot_id).slot_id
            slot = Slot.objects.filter(slot_id=known).first()
            if slot is None:
                raise Refused("slot_unknown", "The slot has no row yet; run sync_slots.")
            self.stdout.write(self.act(slot, actor=shell_actor(), **options))
        except Refused as refused:
            raise CommandError(f"{refused.code}: {refused.detail}") from refused

    @abstractmethod
    def act(self, slot: Slot, *, actor: str, **options: Any) -> str:
        """Do it; returns the line. Raises Refused."""
