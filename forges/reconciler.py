"""Comparing the stored pull requests with the forge's, so that a lost delivery costs minutes."""

from datetime import timedelta

from core.clock import get_database_time
from forges import approving, pull_requests
from forges.adapters.forge import Forge, PullRequestState
from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import read_forge_settings
from forges.models import Delivery, PullRequest
from host.config import Config
from runs.rules import Status

DELIVERIES_KEPT = timedelta(days=30)


def reconcile(config: Config) -> None:
    """Read the open pull requests from the forge, and have all be decided again. Raises Refused."""
    settings = read_forge_settings(config)
    if settings is None:
        return
    Delivery.objects.received_before(get_database_time() - DELIVERIES_KEPT).delete()
    if settings.has_token:
        compare(config, create_forge(settings))


def compare(config: Config, forge: Forge) -> None:
    """Store what the forge says of open pull requests, and of those that are not open any more."""
    found = forge.list_open_pull_requests()
    for facts in found:
        pull_requests.record_facts(forge.settings, facts)
    stored = PullRequest.objects.filter(
        forge=forge.settings.forge,
        repository=forge.settings.repository,
        state=PullRequestState.OPEN,
    )
    for row in stored.exclude(number__in=[facts.number for facts in found]):
        _update_ended(forge, row)
    stored.update(is_due=True)
    if forge.settings.approves_by_review:
        for row in stored.filter(run__status=Status.PREVIEW_READY).select_related("run"):
            approving.count_reviews(forge, row)


def _update_ended(forge: Forge, row: PullRequest) -> None:
    try:
        pull_requests.record_facts(forge.settings, forge.get_pull_request(row.number))
    except ForgeFailed as failed:
        if failed.http_status not in (404, 410):  # deleted, or moved to another repository
            raise
        PullRequest.objects.filter(pk=row.pk).update(state=PullRequestState.CLOSED)
    PullRequest.objects.filter(pk=row.pk).update(is_due=True)
