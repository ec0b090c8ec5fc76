"""Outgoing messages: each row waits until its receiver has it, is retried, or is given up.

A process that dies after the request and before the record leaves a row that waits: what sends it
must make the same message twice harmless.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from django.db import models
from django.db.models import F
from django.db.models.functions import Greatest

from core.claims import Claimable, ClaimableQuerySet, make_owner_name, renew_while_running
from core.clock import ClockTimestamp, get_database_time
from core.masked_fields import MaskedTextField
from host.errors import DeliveryFailed

log = logging.getLogger(__name__)
# Between two attempts at sending a message: doubled with each, at most the second one.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 600.0
# For as long as a message is tried that the receiver might accept later.
GIVEN_UP_AFTER = timedelta(hours=24)

Message = TypeVar("Message", bound="Outgoing")


@dataclass(frozen=True)
class Failure:
    """A message that was not sent, and when it is tried again; None if it was given up."""

    failed: DeliveryFailed
    due_at: datetime | None


def compute_backoff(failures: int, retry_after: float | None) -> float:
    """Return in how many seconds a message is sent again after so many failures in a row.

    Never sooner than the receiver asked for, but within a day.
    """
    doubled = FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 10)
    wait = max(min(doubled, LONGEST_WAIT_SECONDS), retry_after or 0.0)
    return min(wait, GIVEN_UP_AFTER.total_seconds())


def is_given_up(is_permanent: bool, age: timedelta) -> bool:
    """Return whether a message that the receiver refused is not sent again."""
    return is_permanent or age > GIVEN_UP_AFTER


class OutgoingQuerySet(ClaimableQuerySet[Message]):
    """Messages by whether they are sent."""

    def waiting(self) -> Self:
        return self.filter(is_waiting=True, given_up_at=None)

    def due(self) -> Self:
        """Those to send now, the oldest text first."""
        return self.waiting().filter(due_at__lte=ClockTimestamp()).order_by("wanted_at", "pk")

    def postpone(self, due_at: datetime) -> None:
        """Send none of those that wait before that time."""
        self.waiting().update(due_at=Greatest("due_at", due_at))

    def send(self, pk: Any, deliver: Callable[[Message], None]) -> Failure | None:
        """Send the message unless another process does, and record how that ended.

        `deliver` raises DeliveryFailed. Returns None if nothing failed.
        """
        claim = self.claim(pk, make_owner_name())
        if claim is None:
            return None
        with renew_while_running(self.all(), claim):
            message = self.get(pk=pk)
            if not message.is_waiting:
                return None
            try:
                deliver(message)
            except DeliveryFailed as failed:
                return Failure(failed, _record_failure(message, failed))
            message.record_delivery()
        return None

    def send_again(self, pk: Any) -> bool:
        """Have a message that was given up, or that waits, sent now; False if it was sent."""
        now = ClockTimestamp()
        fields = {"given_up_at": None, "due_at": now, "wanted_at": now, "failures": 0}
        return self.filter(pk=pk, is_waiting=True).update(**fields) == 1


def _record_failure(message: "Outgoing", failed: DeliveryFailed) -> datetime | None:
    at = get_database_time()
    if is_given_up(failed.is_permanent, at - message.wanted_at):
        log.warning("a message was given up: %s: %s", message, failed.detail)
        message.give_up(failed.detail)
        return None
    wait = timedelta(seconds=compute_backoff(message.failures + 1, failed.retry_after))
    message.record_failure(failed.detail, due_at=at + wait)
    return at + wait


class Outgoing(Claimable):
    """The columns of an outgoing message."""

    wanted_at = models.DateTimeField()
    is_waiting = models.BooleanField(default=True)
    due_at = models.DateTimeField()
    # Failures in a row, and what the receiver answered last: it may repeat what it was sent.
    failures = models.PositiveIntegerField(default=0)
    error = MaskedTextField(blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def state(self) -> str:
        """Whether it is sent, as a word: sent, waiting, given up or superseded."""
        if not self.is_waiting:
            return "sent" if not self.error else "superseded"
        return "waiting" if self.given_up_at is None else "given up"

    @property
    def _row(self) -> models.QuerySet[Any]:
        return type(self)._default_manager.filter(pk=self.pk)

    def record_delivery(self) -> None:
        """Record that the receiver has the text that was read; a newer one is sent next."""
        self._row.update(delivered_at=ClockTimestamp(), failures=0, attempts=0, error="")
        self._row.filter(wanted_at=self.wanted_at).update(is_waiting=False)

    def record_failure(self, detail: str, *, due_at: datetime) -> None:
        """Record what the receiver answered, and when it is tried again."""
        self._row.update(failures=F("failures") + 1, error=detail, due_at=due_at)

    def give_up(self, detail: str) -> None:
        """Record that this text is not sent again; a newer one is."""
        row = self._row.filter(wanted_at=self.wanted_at)
        row.update(given_up_at=ClockTimestamp(), error=detail)
