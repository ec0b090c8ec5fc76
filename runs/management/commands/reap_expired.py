"""The reaper, once."""

from django.core.management.base import BaseCommand

from releases.json_command import shell_actor
from runs.leasing import reaper


class Command(BaseCommand):
    help = "Fence the leases that ran out, clean their slots, grant the next. May be repeated."

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="only say what ran out")

    def handle(self, *, dry_run, **options):
        if dry_run:
            slot_ids = [str(lease.slot) for lease in reaper.expired()]
        else:
            slot_ids = reaper.reap_expired(shell_actor()).slot_ids
        verb = "would be " if dry_run else ""
        self.stdout.write(f"{len(slot_ids)} leases {verb}ended {' '.join(slot_ids)}".rstrip())
