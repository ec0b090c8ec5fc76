"""Shipping stands still: approved runs wait, previews go on."""

from django.core.management.base import BaseCommand, CommandError

from host.errors import Refused
from releases.json_command import shell_actor
from runs import merge_queue


class Command(BaseCommand):
    help = "Hold all that is approved, for some hours or until `unfreeze`; what ships goes on."

    def add_arguments(self, parser):
        parser.add_argument("--reason", required=True)
        parser.add_argument("--hours", type=float, help="how long; without it until somebody lifts")

    def handle(self, *, reason, hours, **options):
        try:
            until = None if hours is None else merge_queue.end_after(hours)
            merge_queue.freeze(actor=shell_actor(), reason=reason, until=until)
        except Refused as refused:
            raise CommandError(refused.detail) from None
        how_long = "until it is lifted" if until is None else f"until {until:%Y-%m-%d %H:%M} UTC"
        self.stdout.write(f"shipping is frozen {how_long}")
