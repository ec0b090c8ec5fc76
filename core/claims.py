"""Claims: the exclusive right of one process to work on one row now. See docs/decisions/0002.

A claim lasts 30 s and is renewed every second while the work lasts. One conditional UPDATE takes it
and counts the attempt. Every write for the row names the claim's fence, so a process that lost its
claim writes nothing.
"""

import operator
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, reduce
from pathlib import Path
from typing import Any, Self, TypeVar

from django.apps import apps
from django.db import DatabaseError, InterfaceError, connection, models
from django.db.models import F, Q
from django.db.models.functions import Greatest

from core.clock import ClockTimestamp
from host.process import process_table, shutdown

CLAIM_SECONDS = 30
RENEW_SECONDS = 1.0
# A process that could not renew its claim for this long stops, well before another process can
# take the row: the difference covers the time that its commands need to end.
LOST_AFTER_SECONDS = CLAIM_SECONDS * 2 / 3
# Claims in a row whose process died. After them the work is given up, not tried again.
MAX_ATTEMPTS = 3
# Of the host's name in that of a claim's owner, which has at most 100 characters.
HOST_LENGTH = 40

Row = TypeVar("Row", bound="Claimable")


class ClaimLost(Exception):
    """The process lost its claim on the row: it must stop before its next effect."""


@dataclass
class Claim:
    """The exclusive right of one process to work on one row now."""

    pk: Any
    owner: str
    fence: int
    # On the monotonic clock. A process that was suspended (SIGSTOP, a sleeping laptop) renews
    # nothing; when it resumes, this tells it at once that its claim may be lost.
    valid_until: float
    # Set when a renewal failed: another process may have the row.
    lost: threading.Event = field(default_factory=threading.Event)
    # Set when a person asked to stop the work. The work decides whether it still can.
    stop_requested: threading.Event = field(default_factory=threading.Event)

    @property
    def is_lost(self) -> bool:
        """Whether this process must stop: another one may have the row, or the worker is ending."""
        is_expired = time.monotonic() > self.valid_until
        return self.lost.is_set() or is_expired or shutdown.has_begun()


class ClaimableQuerySet(models.QuerySet[Row]):
    """Rows that one process at a time works on."""

    def claim(self, pk: Any, owner: str) -> Claim | None:
        """Claim the row for `owner` and count the attempt; None while another process has it."""
        now, started = ClockTimestamp(), time.monotonic()
        is_free = Q(claim_expires_at=None) | Q(claim_expires_at__lt=now)
        updated = self.filter(is_free, pk=pk).update(
            claim_owner=owner,
            claim_fence=F("claim_fence") + 1,
            claim_expires_at=now + timedelta(seconds=CLAIM_SECONDS),
            attempts=F("attempts") + 1,
        )
        if not updated:
            return None
        fence = self.values_list("claim_fence", flat=True).get(pk=pk, claim_owner=owner)
        return Claim(pk, owner, fence, started + LOST_AFTER_SECONDS)

    def with_valid_claim(self, claim: Claim) -> Self:
        """Return the claim's row if the claim is still valid, for a conditional UPDATE."""
        return self.filter(
            pk=claim.pk,
            claim_owner=claim.owner,
            claim_fence=claim.fence,
            claim_expires_at__gt=ClockTimestamp(),
        )

    def renew(self, claim: Claim) -> bool:
        """Extend the claim to 30 s from now. False if it is lost."""
        started = time.monotonic()
        until = ClockTimestamp() + timedelta(seconds=CLAIM_SECONDS)
        if self.with_valid_claim(claim).update(claim_expires_at=until) != 1:
            return False
        claim.valid_until = started + LOST_AFTER_SECONDS
        return True

    def expire_claims_of(
        self, session: int, pids: Iterable[int] | None = None, *, is_shutdown: bool = False
    ) -> int:
        """End the claims of processes of this host that are known to have ended. Returns how many.

        They are those of one session (setsid(2)): all of it, or those with these pids. The next
        task for such a row claims it at once, and not after CLAIM_SECONDS. After a shutdown
        (`is_shutdown`) they count as no attempt: the work did not end its process.
        """
        prefix = make_owner_prefix(session)
        prefixes = [prefix] if pids is None else [f"{prefix}{pid}:" for pid in pids]
        owners = [Q(claim_owner__startswith=each) for each in prefixes]
        if not owners:
            return 0
        now = ClockTimestamp()
        claimed = self.filter(reduce(operator.or_, owners), claim_expires_at__gt=now)
        attempts = Greatest(F("attempts") - 1, 0) if is_shutdown else F("attempts")
        return claimed.update(claim_expires_at=now, attempts=attempts)

    def expire_claims_of_dead_processes(self) -> int:
        """End the claims of processes of this kernel that do not exist any more.

        Those of an earlier boot, or of a host with the same name, expire by themselves: nothing is
        known of their processes. Returns how many.
        """
        now, prefix = ClockTimestamp(), make_host_prefix()
        claimed = self.filter(claim_owner__startswith=prefix, claim_expires_at__gt=now)
        owners = claimed.values_list("claim_owner", flat=True)
        dead = [each for each in owners if not has_process(each)]
        return claimed.filter(claim_owner__in=dead).update(claim_expires_at=now) if dead else 0

    def release_claim(self, claim: Claim) -> None:
        """End the claim, so that the next task for the row can claim it at once."""
        self.with_valid_claim(claim).update(claim_expires_at=None, claim_owner="")


class Claimable(models.Model):
    """The columns of a claim."""

    claim_owner = models.CharField(max_length=100, blank=True)
    claim_fence = models.PositiveBigIntegerField(default=0)
    claim_expires_at = models.DateTimeField(null=True, blank=True)
    # Claims since the work last made progress. A limit ends work that kills its process every time.
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def is_claimed(self, at: datetime) -> bool:
        """Return whether a process works on the row at `at`, the database's time."""
        return self.claim_expires_at is not None and self.claim_expires_at > at


def list_claimable_models() -> list[Any]:
    """Return the models whose rows are claimed, of all apps."""
    return [model for model in apps.get_models() if issubclass(model, Claimable)]


def make_owner_name() -> str:
    """Return a new claim owner: host, kernel, session, pid, and a random part.

    No two are equal.
    """
    return f"{make_owner_prefix(os.getsid(0))}{os.getpid()}:{uuid.uuid4().hex[:8]}"


def make_owner_prefix(session: int) -> str:
    """Return how the owner of every claim of the processes of that session of this host begins."""
    return f"{make_host_prefix()}{session}:"


@cache
def make_host_prefix() -> str:
    """Return how the owner of every claim of this host begins, until its next boot.

    It names what its pids are numbers of: the boot, and the namespace of a container. The name of
    a host may be another one's too.
    """
    boot, namespace = process_table.read_boot_id()[:8], Path("/proc/self/ns/pid").stat().st_ino
    return f"{socket.gethostname()[:HOST_LENGTH]}:{boot}.{namespace}:"


def has_process(owner: str) -> bool:
    """Return whether the process of an owner of this boot, or another with its pid, exists."""
    try:
        # Not by /proc, which may hide the processes of other users. From the end: the name of the
        # host, which comes first, may have a colon.
        os.kill(int(owner.rsplit(":", 2)[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


@contextmanager
def renew_while_running(
    rows: ClaimableQuerySet[Row],
    claim: Claim,
    is_stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Renew the claim from a thread while the body runs, and release it at the end.

    `is_stop_requested` is called with each renewal, on the thread's own database connection; once
    it returns True, `claim.stop_requested` is set.
    """
    done = threading.Event()
    arguments = (rows, claim, is_stop_requested, done)
    thread = threading.Thread(target=_renew_until_done, args=arguments, name="claim", daemon=True)
    thread.start()
    try:
        yield
    except (DatabaseError, InterfaceError):
        connection.close()  # it may be broken; the release below then opens a new one
        raise
    finally:
        done.set()
        thread.join()
        rows.release_claim(claim)


def _renew_until_done(
    rows: ClaimableQuerySet[Row],
    claim: Claim,
    is_stop_requested: Callable[[], bool],
    done: threading.Event,
) -> None:
    try:
        while not done.wait(RENEW_SECONDS):
            try:
                if not rows.renew(claim):
                    claim.lost.set()
                    return
                if is_stop_requested():
                    claim.stop_requested.set()
            except (DatabaseError, InterfaceError):
                connection.close()
                if claim.is_lost:
                    return
    finally:
        connection.close()
