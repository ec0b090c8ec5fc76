"""Rings for a worker: for who asks for a rollback and cannot wait for it, the API and the admin."""

from django.db import transaction
from django_q.tasks import async_task

from host.config import Config
from releases.deployments.operations import begin_rollback
from releases.models import Activation


@transaction.atomic
def request_rollback(
    config: Config, release_id: str, *, actor: str, reason: str, accept_schema: bool = False
) -> Activation:
    """Check a rollback, write it down and ring; returns at once. Raises Refused as `rollback`."""
    activation = begin_rollback(config, release_id, actor, reason, accept_schema)
    async_task("releases.deployments.operations.carry_out", activation.number)
    return activation
