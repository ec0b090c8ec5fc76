"""Reads one message as JSON from its input, delivers it, and prints the answer as JSON.

A program of its own for each message: it may hang or fail as it likes, the connections of what it
loads are guarded, and the worker does not keep over a hundred services in memory.
"""

import ipaddress
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from notifications.channels import connection_guard, email, service, webhook
from notifications.channels.answer import DeliveryAnswer, shorten

CHANNELS: dict[str, Callable[[Mapping[str, Any]], DeliveryAnswer]] = {
    "webhook": webhook.deliver,
    "service": service.deliver,
    "email": email.deliver,
}


def deliver(message: Mapping[str, Any]) -> DeliveryAnswer:
    """Deliver the message. An address that was refused is a permanent failure."""
    if message["kind"] == "email":  # to the server of the settings
        return _try(message)
    guard = connection_guard.install(
        connection_guard.Policy(
            tuple(ipaddress.ip_network(one) for one in message["networks"]),
            frozenset(message["own_ports"]),
        )
    )
    answer = _try(message)
    if guard.refusals and not answer.is_delivered:
        return DeliveryAnswer(guard.refusals[0], is_permanent=True)
    return answer


def _try(message: Mapping[str, Any]) -> DeliveryAnswer:
    try:
        return CHANNELS[message["kind"]](message)
    except (OSError, ValueError) as failed:  # requests' errors are OSErrors; a bad URL's are both
        said = service.hide_parts(str(failed), message["address"])
        return DeliveryAnswer(shorten(f"No answer: {said}"))


if __name__ == "__main__":
    json.dump(asdict(deliver(json.load(sys.stdin))), sys.stdout)
