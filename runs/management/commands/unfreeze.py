"""Lift the freezes of shipping, by a person or by a failed deploy."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from core.audit_trail import Entry, append_entry
from host.errors import Refused
from releases.shell import get_shell_actor
from runs import merge_queue


class Command(BaseCommand):
    help = "Lift every active freeze. The next approved run ships."

    def add_arguments(self, parser):
        parser.add_argument("--reason", required=True)

    def handle(self, *, reason, **options):
        try:
            lifted = merge_queue.unfreeze_shipping(
                settings.OROBOROS, actor=get_shell_actor(), reason=reason
            )
        except Refused as refused:
            raise CommandError(refused.detail) from None
        append_entry(Entry("command", get_shell_actor(), reason=reason, detail="unfreeze"))
        self.stdout.write(f"{lifted} freezes lifted")
