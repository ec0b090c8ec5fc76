"""One branch or commit on its way, and the claim of the process that works on it."""

import uuid
from typing import Any

from django.db import models
from django.db.models import Q, Value

from core.claims import Claim, Claimed, ClaimedQuerySet, ClaimLost
from core.clock import ClockTimestamp
from host.errors import Refused
from runs.rules import AT_WORK, FAILURES, FINAL, MOVES, SHIPPING, Status


class MoveRefused(Refused):
    """The run is not where this move begins."""

    def __init__(self, detail: str) -> None:
        super().__init__("move_refused", detail)


class RunQuerySet(ClaimedQuerySet["Run"]):
    """Runs by what they are."""

    def unfinished(self) -> "RunQuerySet":
        return self.exclude(status__in=FINAL)

    def shipping(self) -> "RunQuerySet":
        """Approved and on the way to production, in the order of their approval."""
        return self.filter(status__in=SHIPPING).order_by("approved_at", "id")


class Run(Claimed):
    """One branch or commit on its way from queued to merged."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=200)
    branch = models.CharField(max_length=200, blank=True)
    commit_sha = models.CharField(max_length=40, blank=True)
    # When the remote was first seen to have the branch; who names a commit may name any.
    branch_seen_at = models.DateTimeField(null=True, blank=True)
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
    # When the sweep last rang for it.
    rung_at = models.DateTimeField(null=True, blank=True)
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

    def ancestors(self) -> "list[Run]":
        """Return the runs that this one retries, the nearest first."""
        found, parent = [], self.parent
        while parent is not None:
            found.append(parent)
            parent = parent.parent
        return found

    def chain(self) -> "list[Run]":
        """Return this run and those it retries whose merges lie right below its own, newest first.

        No other run was merged between them: what the last is based on is from before them all.
        """
        found = [self]
        for one in self.ancestors():
            if one.candidate_sha and one.candidate_sha == found[-1].base_sha:
                found.append(one)
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
