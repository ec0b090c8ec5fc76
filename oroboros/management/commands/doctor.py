"""Checks this host and prints what is wrong."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from forges.deliveries import describe_last_delivery
from host.masking.known_secrets import read_masks
from ops.doctor import checks
from ops.doctor.checks import MinimumFree
from runs.repository import check_settings


class Command(BaseCommand):
    help = "Check this host for all that Oroboros needs, and print a remedy for each fault."
    # The doctor must also run where a system check fails.
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        minimum = MinimumFree(settings.ADMISSION_FREE_MEMORY_MB, settings.ADMISSION_FREE_DISK_MB)
        faults = 0
        found = checks.run_checks(
            settings.OROBOROS, minimum, check_settings, describe_last_delivery
        )
        for finding in found:
            # Of others' answers too, which may repeat what they were sent.
            self.stdout.write(read_masks(settings.OROBOROS).mask(str(finding)))
            faults += not finding.is_ok
        if faults:
            subject = "1 fault was" if faults == 1 else f"{faults} faults were"
            raise CommandError(f"{subject} found.")
