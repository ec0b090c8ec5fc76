"""The base of the management commands that act on one slot."""

from abc import ABC, abstractmethod
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.audit_trail import Entry, append_entry
from host.errors import Refused
from releases.shell import get_shell_actor
from slots.models import Slot


class SlotCommand(BaseCommand, ABC):
    """A command on one slot. It prints one line, and a refusal becomes a CommandError."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slot_id")

    def handle(self, *, slot_id: str, **options: Any) -> None:
        try:
            config = settings.OROBOROS
            name = config.slot(slot_id).slot_id
            slot = Slot.objects.on_host(config.host_name).filter(slot_id=name).first()
            if slot is None:
                raise Refused("slot_unknown", "The slot has no row yet; run sync_slots.")
            actor = get_shell_actor()
            line = self.act(slot, actor=actor, **options)
            reason = str(options.get("reason") or "")
            append_entry(Entry("command", actor, target=name, reason=reason, detail=line))
            self.stdout.write(line)
        except Refused as refused:
            raise CommandError(f"{refused.code}: {refused.detail}") from refused

    @abstractmethod
    def act(self, slot: Slot, *, actor: str, **options: Any) -> str:
        """Perform the command and return the line to print. Raises Refused."""
