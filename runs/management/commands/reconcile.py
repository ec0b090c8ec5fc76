"""The reconciler, once."""

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.lifecycle.reconciler import reconcile


class Command(BaseCommand):
    help = "Compare what should be with what is, and mend it. May be repeated."

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="only say what differs")

    def handle(self, *, dry_run, **options):
        found = reconcile(settings.OROBOROS, dry_run)
        for sentence in found:
            self.stdout.write(sentence)
        self.stdout.write(f"{len(found)} differences" + (", nothing mended" if dry_run else ""))
