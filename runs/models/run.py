"""One branch or commit on its way, and the claim of the process that works on it."""

import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Any

from django.db import models
from django.db.models import F, Q, Value

from oroboros.clock import ClockTimestamp
from oroboros.errors import Refused
from runs.rules import AT_WORK, FAILURES, FINAL, MOVES, SHIPPING, Status

CLAIM_SECONDS = 30
# A claim that could not be renewed for so long is given up: well before it runs out.
SILENT_SECONDS = CLAIM_SECONDS * 2 / 3


class MoveRefused(Refused):
    """The run is not where this move begins."""

    def __init__(self, detail: str) -> None:
        super().__init__("move_refused", detail)


class ClaimLost(Exception):
    """Somebody else works on the run now, or nobody may: stop before the next effect."""


@dataclass
class Claim:
    """The right of one process to work on one run now. Every write for the run names its fence."""

    run_id: uuid.UUID
    owner: str
    fence: int
    # Until then, in monotonic seconds, the claim is good whatever became of its renewals: a process
    # that was stopped meanwhile knows it by this as soon as it goes on.
    good_until: float
    # Nobody may write for the run under this claim any more.
    lost: Flag = field(default_factory=Flag)
    # Somebody wants the run to end; honoured until the merge begins.
    stop_asked: Flag = field(default_factory=Flag)

    @property
    def is_lost(self) -> bool:
        return self.lost.is_set() or time.monotonic() > self.good_until


class RunQuerySet(models.QuerySet["Run"]):
    """Runs by what they are."""

    def unfinished(self) -> "RunQuerySet":
        return self.exclude(status__in=FINAL)

    def shipping(self) -> "RunQuerySet":
        """Approved and on the way to production, in the order of their approval."""
        return self.filter(status__in=SHIPPING).order_by("approved_at", "id")

    def claim(self, run_id: uuid.UUID, owner: str) -> Claim | None:
        """Take the run for `owner`, counting the attempt; None while somebody else has it."""
        at, begun = ClockTimestamp(), time.monotonic()
        free = Q(claim_expires_at=None) | Q(claim_expires_at__lt=at)
        taken = self.filter(free, pk=run_id).update(
            claim_owner=owner,
            claim_fence=F("claim_fence") + 1,
            claim_expires_at=at + timedelta(seconds=CLAIM_SECONDS),
            attempts=F("attempts") + 1,
        )
        if not taken:
            return None
        fence = self.values_list("claim_fence", flat=True).get(pk=run_id, claim_owner=owner)
        return Claim(run_id, owner, fence, begun + SILENT_SECONDS)

    def held_by(self, claim: Claim) -> "RunQuerySet":
        """The claim's run, if the claim is still good: for a conditional UPDATE."""
        return self.filter(
            pk=claim.run_id,
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

    def give_up(self, claim: Claim, **fields: Any) -> None:
        """Let the run go, so that the next bell can take it at once."""
        self.held_by(claim).update(claim_expires_at=None, claim_owner="", **fields)


class Run(models.Model):
    """One branch or commit on its way from queued to merged."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=200)
    branch = models.CharField(max_length=200, blank=True)
    commit_sha = models.CharField(max_length=40, blank=True)
    # False: the run only holds a slot; who made it acquires, heartbeats and releases.
    prepare = models.BooleanField(default=True)
    priority = models.SmallIntegerField(default=0)
    parent = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="children"
    )
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    generation = models.PositiveIntegerField(default=1)
    failure_code = models.CharField(max_length=32, blank=True)
    failure_detail = models.TextField(blank=True)
    next_action = models.TextField(blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # The move that somebody asked for while a process works on the run; that process makes it.
    stop_status = models.CharField(max_length=16, blank=True)
    stop_code = models.CharField(max_length=32, blank=True)
    stop_actor = models.CharField(max_length=150, blank=True)
    stop_reason = models.TextField(blank=True)
    claim_owner = models.CharField(max_length=100, blank=True)
    claim_fence = models.PositiveBigIntegerField(default=0)
    claim_expires_at = models.DateTimeField(null=True, blank=True)
    # Claims since the last step that succeeded: what kills its worker again and again must end.
    attempts = models.PositiveIntegerField(default=0)
    approved_at = models.DateTimeField(null=True, blank=True)
    base_sha = models.CharField(max_length=40, blank=True)
    candidate_sha = models.CharField(max_length=40, blank=True)
    pushed = models.BooleanField(null=True, blank=True)
    release = models.ForeignKey(
        "releases.Release", models.SET_NULL, null=True, blank=True, related_name="+"
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="runs_newest_first"),
            models.Index(
                fields=["approved_at", "id"],
                condition=Q(status__in=SHIPPING),
                name="runs_shipping_line",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="runs_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(failure_code__in=("", *FAILURES)), name="runs_failure_code_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.FAILED) | ~Q(failure_code=""),
                name="runs_failed_run_has_a_code",
            ),
            models.CheckConstraint(
                condition=Q(status__in=FINAL, ended_at__isnull=False)
                | (~Q(status__in=FINAL) & Q(ended_at=None)),
                name="runs_final_run_has_ended",
            ),
            models.UniqueConstraint(
                Value(1), condition=Q(status__in=AT_WORK), name="runs_one_ships_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    def is_claimed(self, at: datetime) -> bool:
        """Whether a process works on the run at the database's time `at`."""
        return self.claim_expires_at is not None and self.claim_expires_at > at

    def ancestors(self) -> "list[Run]":
        """Return the runs that this one retries, the nearest first."""
        found, parent = [], self.parent
        while parent is not None:
            found.append(parent)
            parent = parent.parent
        return found

    def move(self, to: Status, *, claim: Claim | None = None, **fields: Any) -> None:
        """Make the move in one UPDATE; final moves stamp `ended_at`.

        With a `claim` the row is written only while the claim is good. Raises MoveRefused if the
        move is not in MOVES or a rival was faster, ClaimLost if the claim is gone.
        """
        if to not in MOVES.get(self.status, ()):
            raise MoveRefused(f"The run is {self.status}; it cannot become {to}.")
        if to in FINAL:
            fields["ended_at"] = ClockTimestamp()
        rows = Run.objects.filter(pk=self.pk) if claim is None else Run.objects.held_by(claim)
        if rows.filter(status=self.status).update(status=to, **fields) != 1:
            if claim is not None and not Run.objects.held_by(claim).exists():
                raise ClaimLost
            raise MoveRefused(f"The run is no longer {self.status}.")
        self.refresh_from_db()
