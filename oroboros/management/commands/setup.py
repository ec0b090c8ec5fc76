"""Brings the control plane's own state up to date, all in one command."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from ops.setup_command import SCHEMA_TOO_OLD_EXIT
from oroboros import schema_check
from oroboros.static_files import UNUSED_FILES


class Command(BaseCommand):
    help = (
        "Migrate the database, collect the static files, create the groups, the first admin and "
        "the slots' rows. May run again: then it changes only what a new version changes."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--admin", default="admin", help="the first admin's name")

    def handle(self, *, admin: str, verbosity: int, **options: Any) -> None:
        # Here too: called from code, `migrate` skips its checks.
        if schema_check.is_schema_too_old():
            detail = f"{schema_check.CODE}: {schema_check.DETAIL}"
            raise CommandError(detail, returncode=SCHEMA_TOO_OLD_EXIT)
        quiet = {"verbosity": verbosity - 1, "stdout": self.stdout}
        call_command("migrate", interactive=False, **quiet)
        call_command("collectstatic", interactive=False, ignore_patterns=UNUSED_FILES, **quiet)
        call_command("setup_people", admin=admin, stdout=self.stdout)
        call_command("sync_slots", stdout=self.stdout)
        call_command("sync_schedules", stdout=self.stdout)
