"""Bring the control plane's own state up to date, all in one go."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = (
        "Migrate, collect the static files, make the groups, the first admin and the slots' rows. "
        "May run again: then it changes only what a new version changes."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--admin", default="admin", help="the first admin's name")

    def handle(self, *, admin: str, verbosity: int, **options: Any) -> None:
        quiet = {"verbosity": verbosity - 1, "stdout": self.stdout}
        call_command("migrate", interactive=False, **quiet)
        call_command("collectstatic", interactive=False, **quiet)
        call_command("setup_people", admin=admin, stdout=self.stdout)
        call_command("sync_slots", stdout=self.stdout)
