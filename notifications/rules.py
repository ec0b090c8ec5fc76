"""Which notifications there are, who gets them, and what they say: no I/O."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import TextChoices

from host.errors import Refused

TITLE_LENGTH = 150
# The same notification about the same thing is sent to a target once in so long.
QUIET_FOR = timedelta(hours=1)
# A slot's end is announced so long before, and only of slots that were granted for longer.
EXPIRES_SOON = timedelta(minutes=15)
LEAST_GRANT = timedelta(minutes=30)
SEPARATORS = re.compile(r"[/:@?&=,;]+")
TOKEN_LENGTH = 12  # characters; names of channels are seldom longer, and masked everywhere


class NotificationEvent(TextChoices):
    """What happened, by the `type` of a webhook's message."""

    READY = "run.ready", "A preview is ready"
    APPROVAL_WANTED = "run.approval_wanted", "An approval is wanted"
    FAILED = "run.failed", "A run failed"
    SHIPPED = "run.shipped", "A run is shipped"
    DEPLOY_FAILED = "run.deploy_failed", "A deployment failed"
    FROZEN = "shipping.frozen", "Shipping is frozen"
    ROLLED_BACK = "release.rolled_back", "Production was rolled back"
    EXPIRING = "slot.expiring", "A slot is about to expire"
    QUARANTINED = "slot.quarantined", "A slot is quarantined"
    MENTIONED = "comment.mentioned", "You are mentioned in a comment"


TEST = "test"
# What one person is told, by their own e-mail: no webhook and no service is.
PERSONAL = (NotificationEvent.MENTIONED,)
# The kinds of the timeline's events that lead to notifications.
TIMELINE_KINDS = ("preview_ready", "approved", "failed", "merged", "frozen", "quarantined")
NAMES = {
    "merged": NotificationEvent.SHIPPED,
    "frozen": NotificationEvent.FROZEN,
    "quarantined": NotificationEvent.QUARANTINED,
}


class TargetKind(TextChoices):
    """How a target is reached."""

    WEBHOOK = "webhook", "Webhook"
    SERVICE = "service", "Chat or push service"
    EMAIL = "email", "E-mail"


@dataclass(frozen=True)
class RunFacts:
    """What of an event's run decides: its state, and its approvals."""

    status: str
    failure_code: str
    generation: int
    approvals: int


@dataclass(frozen=True)
class Notice:
    """Something to be told. `source` names the row that says so, `subject` what it is about.

    Two notices with the same event and subject within an hour are duplicates. `data` is for
    programs. `branch` is empty for what concerns no branch. With a `person`, a user name, only
    that person is told.
    """

    source: str
    event: str
    subject: str
    branch: str
    text: str
    data: Mapping[str, Any]
    url: str
    person: str = ""

    @property
    def title(self) -> str:
        """One line: what happened, and to what."""
        what = self.data.get("title") or self.data.get("slot") or self.data.get("release") or ""
        label = NotificationEvent(self.event).label if self.event != TEST else "A test"
        line = " ".join((f"{label}: {what}" if what else label).split())
        return line[:TITLE_LENGTH]


def name_events(kind: str, run: RunFacts | None) -> list[tuple[str, str]]:
    """Return the notifications that an event of the timeline leads to, each with what it is about.

    The second is added to the run's or the slot's name: the same again is a duplicate.
    """
    if kind in NAMES:
        return [(NAMES[kind], kind)]
    if run is None:
        return []
    number = f"generation {run.generation}"
    if kind == "failed":
        is_deploy = run.failure_code.startswith("DEPLOY_")
        event = NotificationEvent.DEPLOY_FAILED if is_deploy else NotificationEvent.FAILED
        return [(event, number)]
    if run.status != "preview_ready":  # it went on, or has every approval, by now
        return []
    wanted = (NotificationEvent.APPROVAL_WANTED, f"{number}, approval {run.approvals + 1}")
    return [(NotificationEvent.READY, number), wanted] if kind == "preview_ready" else [wanted]


def matches(event: str, branch: str, events: Iterable[str], patterns: Iterable[str]) -> bool:
    """Return whether a target with those events and branch patterns is told.

    Patterns as in `git branch --list`; what concerns no branch matches all of them.
    """
    patterns = list(patterns)
    is_wanted = not branch or not patterns or any(fnmatchcase(branch, one) for one in patterns)
    return event == TEST or (event in list(events) and is_wanted)


def build_payload(notice: Notice, at: str) -> dict[str, Any]:
    """Return a webhook's message; `at` is when it happened, as ISO 8601."""
    data = {**notice.data, "title": notice.title, "text": notice.text, "url": notice.url}
    return {"type": notice.event, "timestamp": at, "data": data}


def describe_address(kind: str, address: str) -> str:
    """Return the address without what may be a secret in it."""
    if kind == TargetKind.EMAIL:
        return address
    scheme, _, rest = address.partition("://")
    if kind == TargetKind.SERVICE:
        return f"{scheme}://…"
    host = rest.partition("/")[0].rpartition("@")[2].partition("?")[0]
    return f"{scheme}://{host}/…"


def list_secrets(kind: str, address: str, secret: str) -> list[str]:
    """Return what of a target no text may show; of a person's own notices that is nothing.

    A part of an address is taken for a token if it is long and has a digit, and for a host's name
    if it is the address's own host and has a dot: of chat services the host may be a token.
    """
    if kind == TargetKind.EMAIL:
        return []
    host = urlsplit(address).hostname or ""
    tokens = [
        part
        for part in SEPARATORS.split(address.partition("://")[2])
        if len(part) >= TOKEN_LENGTH
        and any(map(str.isdigit, part))
        and not ("." in host and part.lower() == host)
    ]
    return [one for one in (address, secret, secret.partition("_")[2], *tokens) if one]


def check_address(kind: str, address: str) -> None:
    """Raise Refused `address_invalid` for what is no address of the kind, or more than one."""
    if kind == TargetKind.EMAIL:
        try:
            validate_email(address)
        except ValidationError:
            raise Refused("address_invalid", "It is no e-mail address.") from None
        return
    try:
        parts = urlsplit(address)
        is_url = bool(parts.scheme and parts.netloc and parts.port != 0)
    except ValueError:
        is_url = False
    if not is_url or any(character.isspace() for character in address):
        raise Refused("address_invalid", "It is no address such as https://hooks.example.com/x.")
    if kind == TargetKind.WEBHOOK and parts.scheme not in ("http", "https"):
        raise Refused("address_invalid", "A webhook's address begins with https:// or http://.")
