"""The doorbell: a task that carries a run's id and nothing else."""

import uuid

from django_q.tasks import async_task


def ring(run_id: uuid.UUID) -> None:
    """Have a worker carry the run on.

    The queue's table is in this database: rung inside a transaction, it commits or rolls back
    with it.
    """
    async_task("runs.tasks.carry", run_id)
