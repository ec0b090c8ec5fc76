"""Run the worker: django-q2's cluster under a supervisor, which serves /health."""

from contextlib import suppress
from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError

from runs.lifecycle import queue_health
from runs.lifecycle.supervisor import Supervisor
from runs.models import Heartbeat, Run
from slots.management.commands import sync_slots

# Code that ran so often has been specialized by the interpreter (PEP 659), which writes to it.
WARM_UP_ROUNDS = 20


def warm_up() -> None:
    """Run what each process of the queue will run, so that they share more of its memory.

    What is computed and specialized before the fork is not written to afterwards: 2.5 MB less in
    each process.
    """
    for model in apps.get_models(include_auto_created=True):
        model._meta.get_fields()
    for _ in range(WARM_UP_ROUNDS):
        queue_health.read_queue_health()
        Heartbeat.objects.filter(name="").delete()
        list(Run.objects.all()[:1])


class Command(BaseCommand):
    # They load every page. The unit that migrates runs them, and so does CI.
    requires_system_checks = ()
    help = "Run the worker until SIGTERM: the queue's cluster, periodic tasks, and /health."

    def handle(self, **options):
        # Every queue worker needs it; those that are forked share what is imported before.
        import_module("host.app.manifest_validation")
        with suppress(OperationalError):  # the database is down: the supervisor says so
            sync_slots.sync()
            sync_slots.drain_others()
            warm_up()
        Supervisor(settings.OROBOROS).run()
