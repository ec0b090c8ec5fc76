"""Checks by a heartbeat whether the queue delivers: an old heartbeat means that it does not.

A queue worker that is killed while it waits for a task can block django-q2's whole cluster, and the
cluster does not notice. So a task without effect goes through the queue every few seconds.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from core.claims import CLAIM_SECONDS
from core.clock import ClockTimestamp, get_database_time
from runs.lifecycle import schedules
from runs.models import Heartbeat, Run

QUEUE = "queue"
HEARTBEAT_SECONDS = 5.0
HEARTBEAT_MAX_AGE_SECONDS = 30.0
# A killed worker's row of the queue stays for so long, and not until the queue's `retry`.
TAKEN_TASK_SECONDS = 60
# A claim renewed so recently shows that its queue worker lives, however long its step takes.
CLAIM_MAX_AGE_SECONDS = 15.0


def is_delivering(
    heartbeat: datetime | None,
    busy: int,
    workers: int,
    at: datetime,
    max_age: float | None = None,
) -> bool:
    """Return whether a heartbeat came through lately, or every worker is busy with a run.

    `max_age` is in seconds, HEARTBEAT_MAX_AGE_SECONDS by default.
    """
    max_age = HEARTBEAT_MAX_AGE_SECONDS if max_age is None else max_age
    is_fresh = heartbeat is not None and at - heartbeat < timedelta(seconds=max_age)
    return is_fresh or busy >= workers


def send_heartbeat() -> None:
    """Enqueue a heartbeat."""
    async_task(
        "runs.lifecycle.queue_health.deliver_heartbeat",
        hook="runs.lifecycle.queue_health.record_heartbeat",
        group=QUEUE,
    )


def deliver_heartbeat() -> None:
    """Do nothing: the task of a heartbeat, which a queue worker runs."""


def record_heartbeat(task: Task) -> None:
    """Record that the queue delivered a heartbeat: its hook, which the queue's monitor calls.

    The hook and not the task records it, because a cluster whose monitor is dead still runs tasks
    and acknowledges none.
    """
    Heartbeat.objects.update_or_create(name=QUEUE, defaults={"at": ClockTimestamp()})


def forget_heartbeat() -> None:
    """Delete the last heartbeat: that of an earlier cluster says nothing about the next one."""
    Heartbeat.objects.filter(name=QUEUE).delete()


def delete_taken_tasks() -> int:
    """Delete the queue's rows of tasks that were taken a while ago. Returns how many.

    django-q2 deletes a row when its task has ended. The row of a task whose worker was killed
    would stay, and be delivered hours later. No row is needed once its task was taken: what the
    task did not do is found by the sweeper, the reconciler and the schedules.
    """
    # The queue locks a row until `retry` after it was taken, by the clock of this host.
    at = timezone.now()
    taken_before = at + timedelta(seconds=settings.Q_CLUSTER["retry"] - TAKEN_TASK_SECONDS)
    rows = OrmQ.objects.filter(key=settings.Q_CLUSTER["name"])
    return rows.filter(lock__gt=at, lock__lt=taken_before).delete()[0]


def read_queue_health(max_age: float | None = None) -> dict[str, Any]:
    """Return what /health of the worker answers. Raises DatabaseError.

    A heartbeat counts for `max_age` seconds, as in `is_delivering`.
    """
    at = get_database_time()
    heartbeat = Heartbeat.objects.filter(name=QUEUE).values_list("at", flat=True).first()
    # A claim ends CLAIM_SECONDS after its last renewal, so its end says when that was.
    renewed_after = at + timedelta(seconds=CLAIM_SECONDS - CLAIM_MAX_AGE_SECONDS)
    busy = Run.objects.filter(claim_expires_at__gt=renewed_after).count()
    workers = settings.Q_CLUSTER["workers"]
    age = None if heartbeat is None else round((at - heartbeat).total_seconds(), 1)
    return {
        "status": "ok" if is_delivering(heartbeat, busy, workers, at, max_age) else "queue_frozen",
        # The heartbeat's age. The key is older than the word; monitoring may read it.
        "canary_age_seconds": age,
        "busy": busy,
        "workers": workers,
        "overdue_schedules": schedules.list_overdue(),
    }
