"""Run retention once."""

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.lifecycle.retention import remove_unneeded


class Command(BaseCommand):
    help = "Remove unused installs and templates, and files of old runs. May be repeated."

    def add_arguments(self, parser):
        parser.add_argument(
            "--dry-run", action="store_true", help="only print what would be removed"
        )

    def handle(self, *, dry_run, **options):
        removals = remove_unneeded(settings.OROBOROS, dry_run)
        for sentence in removals:
            self.stdout.write(sentence)
        self.stdout.write(f"{len(removals)} things " + ("to remove" if dry_run else "removed"))
