"""Run the reaper once."""

from django.core.management.base import BaseCommand

from releases.shell import get_shell_actor
from runs.leasing import reaper


class Command(BaseCommand):
    help = "End expired leases, clean their slots, grant the next runs. May be repeated."

    def add_arguments(self, parser):
        parser.add_argument(
            "--dry-run", action="store_true", help="only print which leases have expired"
        )

    def handle(self, *, dry_run, **options):
        if dry_run:
            slot_ids = [str(lease.slot) for lease in reaper.list_expired_leases()]
        else:
            slot_ids = reaper.reap_expired(get_shell_actor()).slot_ids
        prefix = "would be " if dry_run else ""
        self.stdout.write(f"{len(slot_ids)} leases {prefix}ended {' '.join(slot_ids)}".rstrip())
