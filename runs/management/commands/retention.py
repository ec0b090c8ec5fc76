"""Retention, once."""

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.lifecycle.retention import remove_unneeded


class Command(BaseCommand):
    help = "Remove installs, templates and old runs' files that nobody needs. May be repeated."

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")

    def handle(self, *, dry_run, **options):
        found = remove_unneeded(settings.OROBOROS, dry_run)
        for sentence in found:
            self.stdout.write(sentence)
        self.stdout.write(f"{len(found)} things " + ("to remove" if dry_run else "removed"))
