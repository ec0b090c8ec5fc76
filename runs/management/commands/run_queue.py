"""django-q2's cluster, every process of which dies with the one that started it."""

from django.core.management.base import BaseCommand
from django_q.cluster import Cluster

from host.process import runner


class Command(BaseCommand):
    help = "Run the queue's cluster; started by run_worker, which watches it."

    def handle(self, **options):
        runner.tie_forks()
        Cluster().start()
