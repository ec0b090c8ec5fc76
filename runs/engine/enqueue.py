"""Enqueueing: a task wakes a worker and names a run; the journal says what is to be done."""

import uuid
from functools import cache

from django_q.brokers import Broker
from django_q.tasks import async_task


def enqueue(run_id: uuid.UUID) -> None:
    """Have a worker execute the run.

    The queue's table is in this database: enqueued inside a transaction, the task commits or rolls
    back with it.
    """
    async_task("runs.lifecycle.execution.execute_run", run_id)


# django-q2 builds and signs a task only on its way to a broker, so this one keeps the result.
class _CapturingBroker(Broker):
    """Keeps the signed task that it is given, and delivers nothing."""

    task = ""

    def enqueue(self, task: str) -> str:
        self.task = task
        return "captured"


@cache
def build_grant_task() -> dict[str, str]:
    """Return the task, and the key of its queue, that GRANT_SLOTS enqueues for a run to prepare.

    The task names no run, because only that statement knows which run was granted a slot; it is
    therefore the same for all grants. Its result is not saved: all would be saved under one id.
    """
    broker = _CapturingBroker()
    async_task("runs.lifecycle.execution.execute_next_granted", save=False, broker=broker)
    return {"queue": broker.list_key, "task": broker.task}
