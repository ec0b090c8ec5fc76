"""Start the worker: django-q2's cluster under a supervisor, with /health on its own port."""

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.lifecycle.supervisor import Worker


class Command(BaseCommand):
    help = "Run the worker until SIGTERM: the queue's cluster, the sweep, and /health on its port."

    def handle(self, **options):
        Worker(settings.OROBOROS).run()
