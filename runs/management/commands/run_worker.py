"""Run the worker: django-q2's cluster under a supervisor, which serves /health."""

from importlib import import_module

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.lifecycle.supervisor import Supervisor


class Command(BaseCommand):
    help = "Run the worker until SIGTERM: the queue's cluster, periodic tasks, and /health."

    def handle(self, **options):
        # Every queue worker needs it; those that are forked share what is imported before.
        import_module("host.app.manifest_validation")
        Supervisor(settings.OROBOROS).run()
