"""Chat and push services, by the addresses of apprise (github.com/caronc/apprise)."""

import io
import logging
import re
from collections.abc import Mapping
from typing import Any

from notifications.channels.answer import DeliveryAnswer, shorten

SECRET_LENGTH = 6
UNKNOWN = "Apprise does not know this address: its wiki has the form of each service's."


def deliver(message: Mapping[str, Any]) -> DeliveryAnswer:
    """Send the message once, to the one service of the address."""
    import apprise

    log = io.StringIO()
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.StreamHandler(log))
    logger.setLevel(logging.WARNING)
    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Oroboros", app_url=""))
    if not sender.add(message["address"]):
        return DeliveryAnswer(UNKNOWN, is_permanent=True)
    is_sent = sender.notify(title=message["title"], body=message["text"])
    said = hide_parts(log.getvalue(), message["address"])
    if is_sent:
        return DeliveryAnswer("The service has taken it.", is_delivered=True)
    return DeliveryAnswer(shorten(said) or "The service did not take it.")


def hide_parts(text: str, address: str) -> str:
    """Return the text without the parts of the address, any of which may be a token."""
    parts = {one for one in re.split(r"[/:@?&=,]+", address) if len(one) >= SECRET_LENGTH}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "…")
    return text
