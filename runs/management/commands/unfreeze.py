"""Shipping goes on, whatever held it: a person, or a run whose deploy failed."""

from django.core.management.base import BaseCommand, CommandError

from host.errors import Refused
from releases.json_command import shell_actor
from runs import merge_queue


class Command(BaseCommand):
    help = "Lift every standing freeze; the next approved run ships."

    def add_arguments(self, parser):
        parser.add_argument("--reason", required=True)

    def handle(self, *, reason, **options):
        try:
            lifted = merge_queue.unfreeze(actor=shell_actor(), reason=reason)
        except Refused as refused:
            raise CommandError(refused.detail) from None
        self.stdout.write(f"{lifted} freezes lifted")
