"""What all work beside the pipelines has in common: one piece of it at a time on a host."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Q
from django_q.tasks import async_task

from core.clock import get_database_time
from host.config import Config
from host.files.file_lock import file_lock
from runs.models.side_work import RUNNING, WAITING, SideWork, SideWorkQuerySet

Work = TypeVar("Work", bound=SideWork)
# A task may be in the queue for this long before its row is enqueued again.
REENQUEUE_SECONDS = 5


def side_work_lock(config: Config) -> AbstractContextManager[bool]:
    """Yield whether no other process of this host does such work; if so, none begins meanwhile.

    It leaves the queue's other workers to the runs. The lock is the kernel's, so that a worker
    that is killed does not keep it.
    """
    return file_lock(config.var / "run" / "side-work.lock", seconds=0)


def sweep(rows: SideWorkQuerySet[Work], task: str, find_wait_reason: Callable[[], str]) -> int:
    """Enqueue `task` for the open rows unless a worker has one of them; return how many are open.

    A reason to wait is stored with those that wait.
    """
    open_rows = rows.open()
    count = open_rows.count()
    if not count:
        return 0
    at = get_database_time()
    if not open_rows.filter(claim_expires_at__gt=at).exists():
        reason = find_wait_reason()
        open_rows.filter(status=WAITING).exclude(detail=reason).update(detail=reason)
        # One that has ended otherwise, or whose worker was killed, is cleaned up in any case.
        _enqueue_due(open_rows, at, task)
    return count


def execute_oldest(
    config: Config,
    rows: SideWorkQuerySet[Work],
    find_wait_reason: Callable[[], str],
    find_end_reason: Callable[[Work], str],
    execute: Callable[[Work], bool],
) -> None:
    """Execute the oldest open row that can run or has to end; without one, do nothing.

    `execute` returns whether it could claim the row.
    """
    with side_work_lock(config) as is_taken:
        if not is_taken:
            return
        may_run = not find_wait_reason()
        for one in rows.open().order_by("requested_at"):
            is_ending = one.status == RUNNING or find_end_reason(one)
            if (may_run or is_ending) and execute(one):
                return


def _enqueue_due(rows: SideWorkQuerySet[Any], at: datetime, task: str) -> None:
    """Enqueue `task` for the rows, at most once in REENQUEUE_SECONDS."""
    since = at - timedelta(seconds=REENQUEUE_SECONDS)
    due = rows.filter(Q(enqueued_at=None) | Q(enqueued_at__lt=since))
    with transaction.atomic():
        if due.update(enqueued_at=at):
            async_task(task)
