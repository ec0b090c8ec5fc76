"""Run the reconciler once."""

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.lifecycle.reconciler import reconcile


class Command(BaseCommand):
    help = "Compare the records with the machine and repair what differs. May be repeated."

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="only print what differs")

    def handle(self, *, dry_run, **options):
        differences = reconcile(settings.OROBOROS, dry_run)
        for sentence in differences:
            self.stdout.write(sentence)
        suffix = ", nothing repaired" if dry_run else ""
        self.stdout.write(f"{len(differences)} differences{suffix}")
