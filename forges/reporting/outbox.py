"""Sending what waits in the outbox: each message to its target, the newest text only.

A message that may have been sent before its process died is looked for first: a status is the same
when it is set again, and the comment is found by its marker.
"""

import logging
from datetime import timedelta

from django.db.models.functions import Greatest

from core.claims import make_owner_name, renew_while_running
from core.clock import ClockTimestamp, get_database_time
from forges.adapters.forge import CommitStatus, Forge, StatusState
from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import read_forge_settings
from forges.models import OutgoingMessage
from forges.reporting.announcements import COMMENT, announce, build_marker
from forges.rules import compute_backoff, is_given_up
from host.config import Config
from host.errors import Refused
from host.process import shutdown

log = logging.getLogger(__name__)
AT_ONCE = 50
REACTION, ACCEPTED, REFUSED = "reaction:", "accepted", "refused"


def report(config: Config) -> None:
    """Put into the outbox what has changed, and send what is due. Raises Refused."""
    settings = read_forge_settings(config)
    if settings is None or not settings.has_token:
        return
    announce(config, settings)
    forge = create_forge(settings)
    for pk in OutgoingMessage.objects.due().values_list("pk", flat=True)[:AT_ONCE]:
        if shutdown.has_begun() or not send(forge, pk):
            return


def send(forge: Forge, pk: int) -> bool:
    """Send one message, unless another process does.

    Returns False if the forge would refuse any other message now too.
    """
    claim = OutgoingMessage.objects.claim(pk, make_owner_name())
    if claim is None:
        return True
    with renew_while_running(OutgoingMessage.objects.all(), claim):
        message = OutgoingMessage.objects.select_related("pull_request").get(pk=pk)
        if not message.is_waiting:
            return True
        try:
            _deliver(forge, message)
        except ForgeFailed as failed:
            _record_failure(message, failed)
            return not failed.is_for_all
        except Refused as refused:  # the token's file cannot be read
            _record_failure(message, ForgeFailed(refused.detail))
            return False
        message.record_delivery()
    return True


def _deliver(forge: Forge, message: OutgoingMessage) -> None:
    if message.target == COMMENT:
        _deliver_comment(forge, message)
        return
    wanted = message.wanted
    if message.target.startswith(REACTION):
        number, is_accepted = message.pull_request.number, wanted["state"] == ACCEPTED
        forge.add_reaction(number, wanted["comment"], is_accepted=is_accepted)
        return
    status = CommitStatus(
        wanted["context"], StatusState(wanted["state"]), wanted["text"], wanted["url"]
    )
    forge.set_status(wanted["sha"], status)


def _deliver_comment(forge: Forge, message: OutgoingMessage) -> None:
    row, text = message.pull_request, message.wanted["text"]
    comment_id = message.remote_id or forge.find_comment(row.number, build_marker(row))
    if comment_id is not None:
        try:
            forge.edit_comment(row.number, comment_id, text)
        except ForgeFailed as failed:
            if failed.http_status not in (404, 410):
                raise
            comment_id = None  # a person deleted it
    if comment_id is None:
        comment_id = forge.create_comment(row.number, text)
    # At once: a process that dies before this finds the comment by its marker.
    OutgoingMessage.objects.filter(pk=message.pk).update(remote_id=comment_id)


def _record_failure(message: OutgoingMessage, failed: ForgeFailed) -> None:
    at = get_database_time()
    if is_given_up(failed.is_permanent, at - message.wanted_at):
        log.warning("the forge was not told %s: %s", message, failed.detail)
        message.give_up(failed.detail)
        return
    wait = timedelta(seconds=compute_backoff(message.failures + 1, failed.retry_after))
    message.record_failure(failed.detail, due_at=at + wait)
    if failed.is_for_all:
        # None of the others is to be tried before either.
        OutgoingMessage.objects.waiting().update(due_at=Greatest("due_at", at + wait))


def send_again(message: OutgoingMessage) -> bool:
    """Have a message that was given up, or that waits, sent now; False if it was sent."""
    row = OutgoingMessage.objects.filter(pk=message.pk, is_waiting=True)
    now = ClockTimestamp()
    return row.update(given_up_at=None, due_at=now, wanted_at=now, failures=0) == 1
