"""Sending what waits in the outbox: each message to its target, the newest text only.

A message that may have been sent before its process died is looked for first: a status is the same
when it is set again, the comment is found by its marker, and a deployment by its commit.
"""

from functools import partial
from typing import cast

from forges.adapters.forge import (
    CommitStatus,
    DeploymentReport,
    DeploymentState,
    Forge,
    StatusState,
)
from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import read_forge_settings
from forges.models import OutgoingMessage
from forges.reporting.announcements import COMMENT, announce, build_marker
from forges.reporting.deployments import DEPLOYMENT
from host.config import Config
from host.errors import Refused
from host.process import shutdown

AT_ONCE = 50
REACTION, ACCEPTED, REFUSED = "reaction:", "accepted", "refused"


def report(config: Config) -> None:
    """Put into the outbox what has changed, and send what is due. Raises Refused."""
    settings = read_forge_settings(config)
    if settings is None or not settings.has_token:
        return
    announce(config, settings)
    forge = create_forge(settings)
    # Those of an earlier FORGE_REPOSITORY are about other pull requests with the same numbers.
    ours = OutgoingMessage.objects.of_repository(settings.forge, settings.repository)
    for pk in ours.due().values_list("pk", flat=True)[:AT_ONCE]:
        if shutdown.has_begun() or not send(forge, pk):
            return


def send(forge: Forge, pk: int) -> bool:
    """Send one message, unless another process does.

    Returns False if the forge would refuse any other message now too.
    """
    messages = OutgoingMessage.objects.select_related("pull_request")
    failure = messages.send(pk, partial(_try_to_deliver, forge))
    if failure is None or not cast("ForgeFailed", failure.failed).is_for_all:
        return True
    if failure.due_at is not None:
        OutgoingMessage.objects.postpone(failure.due_at)
    return False


def _try_to_deliver(forge: Forge, message: OutgoingMessage) -> None:
    try:
        _deliver(forge, message)
    except ForgeFailed:
        raise
    except Refused as refused:  # the token's file cannot be read
        raise ForgeFailed(refused.detail) from refused


def _deliver(forge: Forge, message: OutgoingMessage) -> None:
    if message.target == COMMENT:
        _deliver_comment(forge, message)
        return
    wanted = message.wanted
    if message.target.startswith(REACTION):
        number, is_accepted = message.pull_request.number, wanted["state"] == ACCEPTED
        forge.add_reaction(number, wanted["comment"], is_accepted=is_accepted)
        return
    if message.target.startswith(DEPLOYMENT):
        _deliver_deployment(forge, message)
        return
    status = CommitStatus(
        wanted["context"], StatusState(wanted["state"]), wanted["text"], wanted["url"]
    )
    forge.set_status(wanted["sha"], status)


def _deliver_deployment(forge: Forge, message: OutgoingMessage) -> None:
    wanted = message.wanted
    report = DeploymentReport(**{**wanted, "state": DeploymentState(wanted["state"])})
    deployment_id = message.remote_id or forge.find_deployment(report)
    if deployment_id is None:
        if report.state == DeploymentState.INACTIVE:
            return  # the forge was never told of it
        deployment_id = forge.create_deployment(report)
    OutgoingMessage.objects.filter(pk=message.pk).update(remote_id=deployment_id)
    forge.set_deployment_state(deployment_id, report)


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
