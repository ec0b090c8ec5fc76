"""Create the schedules of this host's queue."""

from django.core.management.base import BaseCommand

from runs.lifecycle.schedules import sync_schedules


class Command(BaseCommand):
    help = "Create or update the schedules of this host's queue. May be repeated."

    def handle(self, **options):
        created = sync_schedules()
        names = ", ".join(created)
        self.stdout.write(f"created the schedules {names}" if created else "the schedules exist")
