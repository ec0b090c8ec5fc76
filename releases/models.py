"""Releases and the switches to them. Exactly one is live, and the database says so."""

import uuid
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models import Q

from core.claims import Claim, Claimed, ClaimedQuerySet, ClaimLost
from core.clock import ClockTimestamp, database_time
from host.errors import Refused
from releases.rules import (
    COLOURS,
    MOVES,
    ActivationKind,
    ActivationOutcome,
    ReleaseStatus,
    release_id_for,
)


class ActivationLost(ClaimLost):
    """Somebody else carries the activation now, or nobody may: stop before the next effect."""


class ReleaseQuerySet(models.QuerySet["Release"]):
    """Releases by what they are."""

    def live(self) -> "Release | None":
        return self.filter(status=ReleaseStatus.LIVE).first()

    def healthy(self) -> "ReleaseQuerySet":
        """Those that passed a health gate and still have their build, the last one live first."""
        return self.filter(healthy_at__isnull=False, removed_at=None).order_by("-activated_at")

    def start(self, commit: str, *, tree: str, run_id: uuid.UUID | None) -> "Release":
        """Create the row of a build that begins now."""
        at = database_time()
        while True:
            try:
                with transaction.atomic():
                    return self.create(
                        release_id=release_id_for(commit, at),
                        commit_sha=commit,
                        tree_sha=tree,
                        run_id=run_id,
                        created_at=at,
                    )
            except IntegrityError:
                if not self.filter(pk=release_id_for(commit, at)).exists():
                    raise  # some other constraint: a bug
                at += timedelta(seconds=1)


class Release(models.Model):
    """One commit built for production, and its state."""

    release_id = models.CharField(max_length=32, primary_key=True)
    commit_sha = models.CharField(max_length=40)
    tree_sha = models.CharField(max_length=40, blank=True)
    # Named by its id alone: releases know nothing of runs.
    run_id = models.UUIDField(null=True, blank=True)
    status = models.CharField(
        max_length=16, choices=ReleaseStatus.choices, default=ReleaseStatus.BUILDING
    )
    detail = models.TextField(blank=True)
    # Of the build's manifest.json, which has those of the files.
    checksum = models.CharField(max_length=64, blank=True)
    # Migration files that were new against what was live before.
    migrations = models.JSONField(default=list, blank=True)
    # What its `release:` changed in production's schema: [{kind, text}].
    schema_changes = models.JSONField(default=list, blank=True)
    restore_point = models.CharField(max_length=200, blank=True)
    restore_command = models.TextField(blank=True)
    created_at = models.DateTimeField()
    built_at = models.DateTimeField(null=True, blank=True)
    migrated_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    healthy_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ["-release_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["status"],
                condition=Q(status=ReleaseStatus.LIVE),
                name="releases_one_is_live",
            ),
            models.CheckConstraint(
                condition=Q(status__in=ReleaseStatus.values), name="releases_status_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(status=ReleaseStatus.LIVE)
                | Q(built_at__isnull=False, activated_at__isnull=False, removed_at=None),
                name="releases_live_one_is_built",
            ),
            models.CheckConstraint(
                condition=Q(release_id__regex=r"^r-[0-9]{14}-[0-9a-f]{12}$"),
                name="releases_id_has_its_form",
            ),
        ]

    def __str__(self) -> str:
        return self.release_id

    @property
    def was_healthy(self) -> bool:
        return self.healthy_at is not None

    def move(self, to: ReleaseStatus, **fields: Any) -> None:
        """Make the move in one UPDATE. Raises Refused `release_move_refused`."""
        if to not in MOVES[self.status]:
            raise Refused("release_move_refused", f"{self} is {self.status}, never {to} next.")
        row = Release.objects.filter(pk=self.pk, status=self.status)
        if row.update(status=to, **fields) != 1:
            raise Refused("release_move_refused", f"{self} is no longer {self.status}.")
        self.refresh_from_db()


class ActivationQuerySet(ClaimedQuerySet["Activation"]):
    """Switches by how they stand, and the claim of the process that carries one."""

    def running(self) -> "ActivationQuerySet":
        return self.filter(outcome=ActivationOutcome.RUNNING)

    def begin(self, release: Release, **fields: Any) -> "Activation":
        """Create the one activation under way. Raises Refused `activation_in_progress`."""
        try:
            with transaction.atomic():
                begun = self.create(release=release, started_at=ClockTimestamp(), **fields)
                begun.refresh_from_db(fields=["started_at"])
                return begun
        except IntegrityError:
            under_way = self.running().select_related("release").first()
            if under_way is None:
                raise
            raise Refused(
                "activation_in_progress",
                f"Activation {under_way.number} of {under_way.release} is under way: wait for it.",
            ) from None


class Activation(Claimed):
    """One switch of production to a release: who, when, why, how long, and how it ended."""

    number = models.BigAutoField(primary_key=True)
    release = models.ForeignKey(Release, models.PROTECT, related_name="activations")
    previous = models.ForeignKey(
        Release, models.PROTECT, null=True, blank=True, related_name="succeeded_by"
    )
    kind = models.CharField(max_length=16, choices=ActivationKind.choices)
    actor = models.CharField(max_length=150)
    reason = models.TextField(blank=True)
    run_id = models.UUIDField(null=True, blank=True)
    # Names the attempt it belongs to: the same key finds the same activation again.
    key = models.CharField(max_length=100, blank=True)
    colour = models.CharField(max_length=8)
    # False where no file of the backend changed: no reload hook, no health gate.
    is_gated = models.BooleanField(default=True)
    outcome = models.CharField(
        max_length=16, choices=ActivationOutcome.choices, default=ActivationOutcome.RUNNING
    )
    progress = models.CharField(max_length=200, blank=True)
    detail = models.TextField(blank=True)
    guidance = models.JSONField(default=list, blank=True)
    started_at = models.DateTimeField()
    switched_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = ActivationQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["outcome"],
                condition=Q(outcome=ActivationOutcome.RUNNING),
                name="releases_one_activation_at_a_time",
            ),
            models.UniqueConstraint(
                fields=["key"], condition=~Q(key=""), name="releases_one_activation_per_key"
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=ActivationOutcome.values)
                & Q(kind__in=ActivationKind.values)
                & Q(colour__in=COLOURS),
                name="releases_activation_is_known",
            ),
            models.CheckConstraint(
                condition=Q(outcome=ActivationOutcome.RUNNING, ended_at=None)
                | (~Q(outcome=ActivationOutcome.RUNNING) & Q(ended_at__isnull=False)),
                name="releases_ended_activation_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        return f"activation {self.number}"

    @property
    def is_over(self) -> bool:
        return self.outcome != ActivationOutcome.RUNNING

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it is under way."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    def write(self, claim: Claim, **fields: Any) -> None:
        """Write for the claim. Raises ActivationLost if it is no longer good."""
        if Activation.objects.held_by(claim).update(**fields) != 1:
            claim.lost.set()
            raise ActivationLost
        self.refresh_from_db(fields=fields)

    def go_live(self, claim: Claim) -> None:
        """Tell the registry that the link was switched: its release is live, the other retired."""
        with transaction.atomic():
            self.write(claim, switched_at=ClockTimestamp())
            live = Release.objects.select_for_update().live()
            if live == self.release:
                return
            if live is not None:
                live.move(ReleaseStatus.RETIRED)
            self.release.refresh_from_db()
            self.release.move(ReleaseStatus.LIVE, activated_at=ClockTimestamp(), detail="")

    def succeed(self, claim: Claim) -> None:
        """Every probe of the gate was good."""
        with transaction.atomic():
            self.write(
                claim,
                outcome=ActivationOutcome.SUCCEEDED,
                ended_at=ClockTimestamp(),
                progress="",
            )
            Release.objects.filter(pk=self.release_id).update(healthy_at=ClockTimestamp())
        self.refresh_from_db()

    def fail(
        self, claim: Claim, outcome: ActivationOutcome, detail: str, guidance: list[str]
    ) -> None:
        """End it badly; `previous` is live in the registry again, as it is on the disk."""
        with transaction.atomic():
            self.write(
                claim,
                outcome=outcome,
                detail=detail,
                guidance=guidance,
                ended_at=ClockTimestamp(),
                progress="",
            )
            release = Release.objects.select_for_update().get(pk=self.release_id)
            status = _status_after(release, outcome)
            if release.status != status:
                release.move(status, detail=detail)
            if self.switched_at is not None and self.previous is not None:
                self.previous.refresh_from_db()
                self.previous.move(ReleaseStatus.LIVE)


def _status_after(release: Release, outcome: ActivationOutcome) -> ReleaseStatus:
    """Return what the release is whose activation failed: one that was healthy stays a way back."""
    if outcome == ActivationOutcome.STUCK:
        return ReleaseStatus.STUCK
    return ReleaseStatus.RETIRED if release.was_healthy else ReleaseStatus.FAILED
