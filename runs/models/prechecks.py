"""Prechecks: verifications of a ready run's merge before a person approves it."""

import uuid

from django.db import models
from django.db.models import Q, Value

from core.claims import Claim
from core.clock import ClockTimestamp
from runs.models.run import Run
from runs.models.side_work import SideWork, SideWorkQuerySet
from runs.prechecks.rules import OPEN, Outcome, PrecheckStatus


class PrecheckQuerySet(SideWorkQuerySet["Precheck"]):
    """Prechecks by their state and their host."""

    def running(self) -> "PrecheckQuerySet":
        return self.filter(status=PrecheckStatus.RUNNING)


class Precheck(SideWork):
    """One verification of a run's commit, merged into the target branch of that moment.

    It says nothing about what ships: the merge gate verifies that again.
    """

    OPEN = OPEN

    # Names its gate's folder, database and temporary release, apart from the run's own gate.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="prechecks")
    # The target branch's commit, and the merge of both; "" until they are known.
    base_sha = models.CharField(max_length=40, blank=True)
    candidate_sha = models.CharField(max_length=40, blank=True)
    release = models.ForeignKey(
        "releases.Release", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    status = models.CharField(
        max_length=16, choices=PrecheckStatus.choices, default=PrecheckStatus.WAITING
    )
    # The step that runs, or at which it failed.
    step = models.CharField(max_length=32, blank=True)
    # Of the step `checks`: {"passed": [command, …], "running": command}; once it has passed
    # {"checks": [name, …]}.
    progress = models.JSONField(default=dict, db_default=Value({}, models.JSONField()), blank=True)
    code = models.CharField(max_length=32, blank=True)
    requested_by = models.CharField(max_length=150)

    objects = PrecheckQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at", "-id"]
        indexes = [models.Index(fields=["run", "-requested_at"], name="runs_prechecks_of_a_run")]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=PrecheckStatus.values), name="runs_precheck_status_is_known"
            ),
            models.UniqueConstraint(
                fields=["run"], condition=Q(status__in=OPEN), name="runs_one_open_precheck"
            ),
        ]

    def __str__(self) -> str:
        return f"precheck of {self.commit_sha[:12]}"

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.status, self.commit_sha, self.base_sha)

    @property
    def seconds(self) -> float | None:
        """How long it ran; None before its start and while it runs."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    def start(self, claim: Claim) -> None:
        """Begin from the first step; what an earlier attempt recorded is forgotten."""
        self.update(
            claim,
            status=PrecheckStatus.RUNNING,
            started_at=ClockTimestamp(),
            base_sha="",
            candidate_sha="",
            release=None,
            step="",
            progress={},
            detail="",
        )

    def wait(self, claim: Claim, reason: str) -> None:
        """Wait again, from the first step on."""
        self.update(claim, status=PrecheckStatus.WAITING, started_at=None, step="", detail=reason)

    def end(self, claim: Claim, to: PrecheckStatus, code: str = "", detail: str = "") -> None:
        """End it. The step at which it failed stays."""
        self.update(claim, status=to, code=code, detail=detail, ended_at=ClockTimestamp())
