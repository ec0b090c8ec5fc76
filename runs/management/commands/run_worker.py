"""Run the worker: django-q2's cluster under a supervisor, which serves /health."""

from contextlib import suppress
from importlib import import_module

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError

from runs.lifecycle.supervisor import Supervisor
from slots.management.commands import sync_slots


class Command(BaseCommand):
    help = "Run the worker until SIGTERM: the queue's cluster, periodic tasks, and /health."

    def handle(self, **options):
        # Every queue worker needs it; those that are forked share what is imported before.
        import_module("host.app.manifest_validation")
        with suppress(OperationalError):  # the database is down: the supervisor says so
            sync_slots.sync()
            sync_slots.drain_others()
        Supervisor(settings.OROBOROS).run()
