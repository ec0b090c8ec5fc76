"""What all work beside the pipelines has in common: one piece of it at a time on a host."""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django_q.tasks import async_task

from host.config import Config
from host.files.file_lock import file_lock
from runs.models.side_work import SideWorkQuerySet

# A task may be in the queue for this long before its row is enqueued again.
REENQUEUE_SECONDS = 5


def side_work_lock(config: Config) -> AbstractContextManager[bool]:
    """Yield whether no other process of this host does such work; if so, none begins meanwhile.

    It leaves the queue's other workers to the runs. The lock is the kernel's, so that a worker
    that is killed does not keep it.
    """
    return file_lock(config.var / "run" / "side-work.lock", seconds=0)


def enqueue_due(rows: SideWorkQuerySet[Any], at: datetime, task: str) -> None:
    """Enqueue `task` for the rows, at most once in REENQUEUE_SECONDS."""
    since = at - timedelta(seconds=REENQUEUE_SECONDS)
    due = rows.filter(Q(enqueued_at=None) | Q(enqueued_at__lt=since))
    with transaction.atomic():
        if due.update(enqueued_at=at):
            async_task(task)
