"""Deciding the stored deliveries, in the order in which they came. The worker calls it."""

import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from django.db import DatabaseError

from core.claims import MAX_ATTEMPTS, make_owner_name, renew_while_running
from core.clock import format_minute
from core.outbox import compute_backoff
from forges import approving, comment_commands, pull_requests
from forges.adapters.forge import (
    ChecksEvent,
    CommentEvent,
    Forge,
    ForgeEvent,
    OtherEvent,
    PayloadInvalid,
    PullRequestEvent,
    PullRequestFacts,
    PushEvent,
    ReviewEvent,
)
from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import read_forge_settings
from forges.models import Delivery, PullRequest
from forges.pull_requests import Outcome
from forges.rules import DeliveryDecision
from forges.shipping import required_checks
from host.config import Config
from host.errors import Refused
from host.process import shutdown
from runs.lifecycle import branch_watch

log = logging.getLogger(__name__)
AT_ONCE = 50
# A day of them, at the longest wait between two.
MOST_FAILURES = 150
FORM = "application/x-www-form-urlencoded"


def process_waiting(config: Config) -> None:
    """Decide the queued deliveries, then the pull requests that are due. Raises Refused."""
    settings = read_forge_settings(config)
    if settings is None:
        return
    forge = create_forge(settings)
    with pull_requests.lock(config) as is_taken:
        if not is_taken:
            return
        for pk in Delivery.objects.due().values_list("pk", flat=True)[:AT_ONCE]:
            if shutdown.has_begun():
                return
            if not process_delivery(config, forge, pk):
                break  # each other one would wait as long for a forge that is silent
        pull_requests.apply_due(config, forge)


def describe_last_delivery() -> str:
    """Return when the last delivery came and what became of it; "" if none has come."""
    try:
        last = Delivery.objects.defer("body").first()
    except DatabaseError:  # the doctor reports the database itself
        return ""
    if last is None:
        return ""
    return f"{last.event} at {format_minute(last.received_at)}: {last.decision}"


def process_delivery(config: Config, forge: Forge, pk: int) -> bool:
    """Decide one delivery, unless another process does. Its reason says what it led to.

    Returns False if it was postponed, since the forge did not answer.
    """
    claim = Delivery.objects.claim(pk, make_owner_name())
    if claim is None:
        return True
    with renew_while_running(Delivery.objects.all(), claim):
        delivery = Delivery.objects.get(pk=pk)
        if delivery.decision != DeliveryDecision.QUEUED:
            return True
        if delivery.attempts > MAX_ATTEMPTS:
            reason = "The worker died each time it decided this; its log may say why."
            delivery.decide(DeliveryDecision.FAILED, reason)
            return True
        outcome = _decide(config, forge, delivery)
        if outcome is None:
            return False
        delivery.decide(
            outcome.decision, outcome.reason, pull_request=outcome.pull_request, run=outcome.run
        )
    return True


def _decide(config: Config, forge: Forge, delivery: Delivery) -> Outcome | None:
    """Return what it led to; None if it was postponed, since the forge may answer later."""
    try:
        if delivery.forge != forge.settings.forge:
            raise PayloadInvalid(f"It is of {delivery.forge}, and FORGE is {forge.settings.forge}.")
        event = forge.parse_event(delivery.event, parse_body(delivery))
        # What was stored of it at the first attempt is no news at the next one.
        is_repeated = delivery.is_repeated or delivery.failures > 0
        return _act(config, forge, event, is_repeated=is_repeated)
    except ForgeFailed as failed:
        if failed.is_permanent or delivery.failures >= MOST_FAILURES:
            return Outcome(DeliveryDecision.FAILED, failed.detail)
        reason = f"It is tried again, since the forge must be asked first. {failed.detail}"
        delivery.postpone(reason, compute_backoff(delivery.failures + 1, failed.retry_after))
        return None
    except Refused as refused:
        return Outcome(DeliveryDecision.FAILED, refused.detail)


def parse_body(delivery: Delivery) -> Mapping[str, Any]:
    """Return the JSON of the body, which GitHub may send as a form. Raises PayloadInvalid."""
    raw = bytes(delivery.body)
    try:
        if delivery.headers.get("content-type", "").startswith(FORM):
            raw = parse_qs(raw.decode(), strict_parsing=True)["payload"][0].encode()
        value = json.loads(raw)
    except (ValueError, KeyError, RecursionError):
        raise PayloadInvalid("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise PayloadInvalid("The body is not a JSON object.")
    return value


def _act(config: Config, forge: Forge, event: ForgeEvent, *, is_repeated: bool) -> Outcome:
    if isinstance(event, OtherEvent):
        return Outcome(DeliveryDecision.IGNORED, event.reason)
    known = forge.settings.repository
    if event.repository.lower() != known.lower():
        reason = f"It is of {event.repository}, and FORGE_REPOSITORY is {known}."
        return Outcome(DeliveryDecision.IGNORED, reason)
    if isinstance(event, PushEvent):
        return _follow_push(event)
    if isinstance(event, ReviewEvent):
        return approving.act_on_review(forge, event)
    if isinstance(event, ChecksEvent):
        return _follow_checks(config, forge, event)
    if isinstance(event, CommentEvent):
        return comment_commands.perform(config, forge, event)
    return _apply_event(config, forge, event, is_repeated=is_repeated)


def _follow_push(event: PushEvent) -> Outcome:
    """Restart the open runs of the branch at its new head, as the minute's watch would do."""
    followed = PullRequest.objects.filter(head_branch=event.branch, run__isnull=False)
    if not followed.exclude(run__ended_at__isnull=False).exists():
        reason = f"No open run of a pull request follows {event.branch}."
        return Outcome(DeliveryDecision.IGNORED, reason)
    restarted = branch_watch.watch_branches()
    reason = f"{len(restarted)} runs follow their branches."
    return Outcome(DeliveryDecision.ACTED, reason, followed.first())


def _follow_checks(config: Config, forge: Forge, event: ChecksEvent) -> Outcome:
    """Decide again what waits for a check of the commit: pull requests and approved runs."""
    may_ship = required_checks.check_waiting(config, event.sha)
    rows = PullRequest.objects.filter(
        forge=forge.settings.forge,
        repository=forge.settings.repository,
        head_sha=event.sha,
        is_requested=True,
    )
    is_awaited = rows.update(is_due=True)
    if may_ship:
        reason = f"The required checks of {event.sha[:12]} have succeeded: its run may ship."
        return Outcome(DeliveryDecision.ACTED, reason, rows.first() if is_awaited else None)
    if not is_awaited:
        reason = f"Nothing can start for a check of {event.sha[:12]}."
        return Outcome(DeliveryDecision.IGNORED, reason)
    reason = "A pull request waits for it, and is decided again."
    return Outcome(DeliveryDecision.ACTED, reason, rows.first())


def _apply_event(
    config: Config, forge: Forge, event: PullRequestEvent, *, is_repeated: bool
) -> Outcome:
    facts, is_current = _read_current(forge, event.facts)
    row, is_news = pull_requests.record_facts(forge.settings, facts)
    if not (is_news or is_repeated or is_current):
        reason = f"It came out of order: {row.actor} was described later than this."
        return Outcome(DeliveryDecision.IGNORED, reason, row)
    return pull_requests.apply(config, forge, row, is_request=event.is_request)


def _read_current(forge: Forge, sent: PullRequestFacts) -> tuple[PullRequestFacts, bool]:
    """Return the pull request as it is now, and True; as it was sent if the forge cannot say.

    Deliveries come late, twice and out of order.
    """
    if not forge.settings.has_token:
        return sent, False
    try:
        return forge.get_pull_request(sent.number), True
    except ForgeFailed as failed:
        if failed.is_permanent:
            raise
        return sent, False
