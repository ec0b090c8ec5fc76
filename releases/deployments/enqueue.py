"""Enqueues rollbacks, for the API and the admin: a request cannot wait for one."""

from django.db import transaction
from django_q.tasks import async_task

from host.config import Config
from releases.deployments.deploy_and_rollback import begin_rollback
from releases.models import Deployment


# The task is stored in the same database: row and task are committed together.
@transaction.atomic
def enqueue_rollback(
    config: Config, release_id: str, *, actor: str, reason: str, accept_schema: bool = False
) -> Deployment:
    """Check a rollback, create its row and enqueue it. Raises Refused as `roll_back` does."""
    deployment = begin_rollback(config, release_id, actor, reason, accept_schema)
    async_task("releases.deployments.deploy_and_rollback.execute_deployment", deployment.number)
    return deployment
