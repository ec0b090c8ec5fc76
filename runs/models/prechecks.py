"""Prechecks: verifications of a ready run's merge before a person approves it."""

import uuid
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Q, Value

from core.claims import Claim, Claimable, ClaimableQuerySet, ClaimLost
from core.clock import ClockTimestamp
from host.masking.known_secrets import read_masks
from runs.models.run import Run
from runs.prechecks.rules import OPEN, Outcome, PrecheckStatus


class PrecheckQuerySet(ClaimableQuerySet["Precheck"]):
    """Prechecks by their state and their host."""

    def open(self) -> "PrecheckQuerySet":
        return self.filter(status__in=OPEN)

    def running(self) -> "PrecheckQuerySet":
        return self.filter(status=PrecheckStatus.RUNNING)

    def on_host(self, host: str) -> "PrecheckQuerySet":
        """The prechecks of the runs that the workers of `host` work on."""
        return self.filter(run__in=Run.objects.on_host(host))

    def request(self, run: Run, *, actor: str) -> tuple["Precheck", bool]:
        """Return the open precheck of the run, else a new one, and whether it is new."""
        fields = {"generation": run.generation, "commit_sha": run.commit_sha}
        try:
            # A savepoint: the partial unique index decides between two requests.
            with transaction.atomic():
                return self.create(
                    run=run, requested_by=actor, requested_at=ClockTimestamp(), **fields
                ), True
        except IntegrityError:
            found = self.open().filter(run=run).first()
            if found is None:
                raise
            return found, False


class Precheck(Claimable):
    """One verification of a run's commit, merged into the target branch of that moment.

    It says nothing about what ships: the merge gate verifies that again.
    """

    # Names its gate's folder, database and temporary release, apart from the run's own gate.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="prechecks")
    generation = models.PositiveIntegerField()
    commit_sha = models.CharField(max_length=40)
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
    # Why it waits, failed or was canceled.
    detail = models.TextField(blank=True)
    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # When a task was last enqueued for it.
    enqueued_at = models.DateTimeField(null=True, blank=True)

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
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.status, self.commit_sha, self.base_sha)

    @property
    def seconds(self) -> float | None:
        """How long it ran; None before its start and while it runs."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    def update(self, claim: Claim, **fields: Any) -> None:
        """Write the fields while the claim is valid, secrets masked. Raises ClaimLost otherwise."""
        masks = read_masks(settings.OROBOROS)
        masked = {name: masks.mask_data(value) for name, value in fields.items()}
        if Precheck.objects.with_valid_claim(claim).update(**masked) != 1:
            claim.lost.set()
            raise ClaimLost
        self.refresh_from_db(fields=list(fields))

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
