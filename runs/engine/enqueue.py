"""The doorbell: a task that carries a run's id at most; what is to be done is in the journal."""

import uuid
from functools import cache

from django_q.brokers import Broker
from django_q.tasks import async_task


def ring(run_id: uuid.UUID) -> None:
    """Have a worker carry the run on.

    The queue's table is in this database: rung inside a transaction, it commits or rolls back
    with it.
    """
    async_task("runs.lifecycle.operations.carry", run_id)


class _Kept(Broker):
    """A queue that keeps its task to itself."""

    task = ""

    def enqueue(self, task: str) -> str:
        self.task = task
        return "nothing: it is kept for grants"


@cache
def for_granted() -> dict[str, str]:
    """Return the task, and its queue, that GRANT itself rings with for a run to be prepared.

    It names no run: who is granted a slot is known to that statement alone. Its successes are not
    saved, since all of them would have one id.
    """
    kept = _Kept()
    async_task("runs.lifecycle.operations.carry_granted", save=False, broker=kept)
    return {"queue": kept.list_key, "bell": kept.task}
