"""Looks this host over."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ops.doctor import examination
from ops.doctor.examination import Floors
from runs.repository import check_settings


class Command(BaseCommand):
    help = "Check this host for all that Oroboros needs and say how to mend what is wrong."
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        floors = Floors(settings.ADMISSION_FREE_MEMORY_MB, settings.ADMISSION_FREE_DISK_MB)
        bad = 0
        for finding in examination.examine(settings.OROBOROS, floors, check_settings):
            self.stdout.write(str(finding))
            bad += not finding.ok
        if bad:
            raise CommandError(f"{bad} things are not right.")
