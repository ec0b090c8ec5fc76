"""Claims: the right of one process to work on one row now. See docs/decisions/0002.

A claim is liveness: 30 s, renewed each second while the work lasts. It is taken by one conditional
UPDATE that counts the attempt, and every write for the row names its fence, so that a process that
lost its claim writes nothing.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from django.db import DatabaseError, InterfaceError, connection, models
from django.db.models import F, Q

from core.clock import ClockTimestamp

CLAIM_SECONDS = 30
RENEW_SECONDS = 1.0
# A claim that could not be renewed for so long is given up: well before it runs out.
SILENT_SECONDS = CLAIM_SECONDS * 2 / 3


Row = TypeVar("Row", bound="Claimed")


class ClaimLost(Exception):
    """Somebody else works on the row now, or nobody may: stop before the next effect."""


@dataclass
class Claim:
    """The right of one process to work on one row now."""

    pk: Any
    owner: str
    fence: int
    # Until then, in monotonic seconds, the claim is good whatever became of its renewals: a process
    # that was stopped meanwhile knows it by this as soon as it goes on.
    good_until: float
    # Nobody may write for the row under this claim any more.
    lost: threading.Event = field(default_factory=threading.Event)
    # Somebody wants the work to end; whether that is honoured is the work's own rule.
    stop_asked: threading.Event = field(default_factory=threading.Event)

    @property
    def is_lost(self) -> bool:
        return self.lost.is_set() or time.monotonic() > self.good_until


class ClaimedQuerySet(models.QuerySet[Row]):
    """Rows that are worked on by one process at a time."""

    def claim(self, pk: Any, owner: str) -> Claim | None:
        """Take the row for `owner`, counting the attempt; None while somebody else has it."""
        at, begun = ClockTimestamp(), time.monotonic()
        free = Q(claim_expires_at=None) | Q(claim_expires_at__lt=at)
        taken = self.filter(free, pk=pk).update(
            claim_owner=owner,
            claim_fence=F("claim_fence") + 1,
            claim_expires_at=at + timedelta(seconds=CLAIM_SECONDS),
            attempts=F("attempts") + 1,
        )
        if not taken:
            return None
        fence = self.values_list("claim_fence", flat=True).get(pk=pk, claim_owner=owner)
        return Claim(pk, owner, fence, begun + SILENT_SECONDS)

    def held_by(self, claim: Claim) -> Self:
        """The claim's row, if the claim is still good: for a conditional UPDATE."""
        return self.filter(
            pk=claim.pk,
            claim_owner=claim.owner,
            claim_fence=claim.fence,
            claim_expires_at__gt=ClockTimestamp(),
        )

    def renew(self, claim: Claim) -> bool:
        """Keep the claim for another 30 s. False if it is lost."""
        begun = time.monotonic()
        until = ClockTimestamp() + timedelta(seconds=CLAIM_SECONDS)
        if self.held_by(claim).update(claim_expires_at=until) != 1:
            return False
        claim.good_until = begun + SILENT_SECONDS
        return True

    def give_up(self, claim: Claim) -> None:
        """Let the row go, so that the next bell can take it at once."""
        self.held_by(claim).update(claim_expires_at=None, claim_owner="")


class Claimed(models.Model):
    """The columns of a claim."""

    claim_owner = models.CharField(max_length=100, blank=True)
    claim_fence = models.PositiveBigIntegerField(default=0)
    claim_expires_at = models.DateTimeField(null=True, blank=True)
    # Claims since the work last got on: what kills its process again and again must end.
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def is_claimed(self, at: datetime) -> bool:
        """Whether a process works on the row at the database's time `at`."""
        return self.claim_expires_at is not None and self.claim_expires_at > at


def owner_name() -> str:
    """Return a name for this very piece of work; two claims never share one."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@contextmanager
def kept(
    rows: ClaimedQuerySet[Row], claim: Claim, is_asked_to_stop: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Renew the claim from a thread while the body works; give it up at the end.

    `is_asked_to_stop` is asked with each renewal, on the thread's own connection.
    """
    done = threading.Event()
    words = (rows, claim, is_asked_to_stop, done)
    thread = threading.Thread(target=_renew, args=words, name="claim", daemon=True)
    thread.start()
    try:
        yield
    except (DatabaseError, InterfaceError):
        connection.close()  # it may be broken; the claim is given up on another one
        raise
    finally:
        done.set()
        thread.join()
        rows.give_up(claim)


def _renew(
    rows: ClaimedQuerySet[Row],
    claim: Claim,
    is_asked_to_stop: Callable[[], bool],
    done: threading.Event,
) -> None:
    try:
        while not done.wait(RENEW_SECONDS):
            try:
                if not rows.renew(claim):
                    claim.lost.set()
                    return
                if is_asked_to_stop():
                    claim.stop_asked.set()
            except (DatabaseError, InterfaceError):
                connection.close()
                if claim.is_lost:
                    return
    finally:
        connection.close()
