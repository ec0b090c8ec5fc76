"""Freeze shipping: approved runs wait, previews continue."""

from django.core.management.base import BaseCommand, CommandError

from core.audit_trail import Entry, append_entry
from host.errors import Refused
from releases.shell import get_shell_actor
from runs import freezes


class Command(BaseCommand):
    help = "Stop shipping for some hours or until `unfreeze`. A run that is shipping continues."

    def add_arguments(self, parser):
        parser.add_argument("--reason", required=True)
        parser.add_argument("--hours", type=float, help="how long; without it until `unfreeze`")

    def handle(self, *, reason, hours, **options):
        try:
            until = None if hours is None else freezes.compute_freeze_end(hours)
            freezes.freeze_shipping(actor=get_shell_actor(), reason=reason, until=until)
        except Refused as refused:
            raise CommandError(refused.detail) from None
        append_entry(Entry("command", get_shell_actor(), reason=reason, detail="freeze"))
        how_long = "until it is lifted" if until is None else f"until {until:%Y-%m-%d %H:%M} UTC"
        self.stdout.write(f"shipping is frozen {how_long}")
