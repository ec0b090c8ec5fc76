"""Sending what is due, each by the program of `notifications.channels`. The worker calls it."""

import json
import sys
from typing import Any

from django.conf import settings

from host.config import Config
from host.errors import DeliveryFailed, Refused
from host.process import runner, shutdown
from notifications.channels.answer import DeliveryAnswer
from notifications.collecting import collect
from notifications.models import Notification
from notifications.notification_settings import (
    list_allowed_networks,
    list_own_ports,
    read_mail_server,
)
from notifications.rules import TargetKind
from notifications.targets import remember_secrets

AT_ONCE = 50
PROGRAM = "notifications.channels"
SECONDS = 30.0
GONE = "The receiver answered 410 Gone: it wants no notifications any more."


def notify(config: Config) -> None:
    """Store what has happened, and send what is due. Raises Refused."""
    collect(config)
    failed = set()
    due = Notification.objects.due().values_list("pk", "target")[:AT_ONCE]
    for pk, target in due:
        if shutdown.has_begun():
            return
        if target not in failed and not send(config, pk):
            failed.add(target)


def send(config: Config, pk: int) -> bool:
    """Send one notification, unless another process does.

    Returns False after a failure that may pass: before it is tried again, its target gets none of
    the others.
    """
    rows = Notification.objects.select_related("target")
    failure = rows.send(pk, lambda message: deliver(config, message))
    if failure is None or failure.due_at is None:
        return True
    target = Notification.objects.filter(pk=pk).values("target")
    Notification.objects.filter(target__in=target).postpone(failure.due_at)
    return False


def deliver(config: Config, message: Notification) -> None:
    """Send it once and keep the answer. Raises DeliveryFailed."""
    try:
        request = build_request(config, message)
    except Refused as refused:  # a setting is missing, or the file of a password
        raise DeliveryFailed(refused.code, refused.detail) from refused
    # Here too: another host may have made the target.
    remember_secrets(config, message.target)
    answer = run_program(request)
    message.record_answer(answer.text)
    if answer.is_gone:
        message.target.disable(GONE)
    if not answer.is_delivered:
        raise DeliveryFailed(
            "notification_failed",
            answer.text,
            is_permanent=answer.is_permanent,
            retry_after=answer.retry_after,
        )


def build_request(config: Config, message: Notification) -> dict[str, Any]:
    """Return what the program reads. Raises Refused for settings that are missing or wrong."""
    target = message.target
    return {
        "kind": target.kind,
        "id": f"msg_{message.message_id.hex}",
        "address": target.address,
        "secret": target.secret,
        "title": message.title,
        "text": message.text,
        "body": json.dumps(message.payload),
        "networks": list_allowed_networks(config),
        "own_ports": list_own_ports(config),
        "server": read_mail_server(config) if target.kind == TargetKind.EMAIL else {},
    }


def run_program(request: dict[str, Any]) -> DeliveryAnswer:
    """Deliver by a process of its own, which gets the secrets by its input."""
    argv = [sys.executable, "-m", PROGRAM]
    done = runner.capture(
        argv, cwd=settings.BASE_DIR, timeout=SECONDS, stdin=json.dumps(request).encode()
    )
    if done.exit_code is None:
        return DeliveryAnswer(f"No answer within {SECONDS:.0f} s.")
    if done.exit_code != 0:
        return DeliveryAnswer("Sending it failed; this is a fault of Oroboros.")
    return DeliveryAnswer(**json.loads(done.stdout))
