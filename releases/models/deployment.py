"""Deployments: switches of production to a release. At most one runs at a time."""

import logging
from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models import Q

from core.claims import Claim, Claimable, ClaimableQuerySet, ClaimLost
from core.clock import ClockTimestamp
from core.masked_fields import MaskedTextField
from host.errors import Refused
from releases.models.release import Release, mask_fields
from releases.rules import (
    COLOURS,
    DeploymentKind,
    DeploymentOutcome,
    ReleaseStatus,
    other_colour,
)

log = logging.getLogger(__name__)


class DeploymentLost(ClaimLost):
    """The claim on the deployment is lost or the caller must stop: make no further effect."""


class DeploymentInProgress(Refused):
    """Another deployment is running, or another process works on this one."""

    def __init__(self, detail: str) -> None:
        super().__init__("activation_in_progress", detail)


class DeploymentQuerySet(ClaimableQuerySet["Deployment"]):
    """Deployments by their state; `claim` comes from the base class."""

    def running(self) -> "DeploymentQuerySet":
        return self.filter(outcome=DeploymentOutcome.RUNNING)

    def latest_switch_to(
        self, release: Release | None, *, before: "Deployment | None" = None
    ) -> "Deployment | None":
        """Return the last deployment (before `before`) that switched production to `release`."""
        if release is None:
            return None
        switched = self.filter(release=release, switched_at__isnull=False)
        if before is not None:
            switched = switched.filter(number__lt=before.number)
        return switched.order_by("-number").select_related("release").first()

    def begin(self, release: Release, *, kind: str, **fields: Any) -> "Deployment":
        """Create the one running deployment.

        Raises DeploymentInProgress, Refused `release_already_current`, `release_not_built`.
        """
        with transaction.atomic():
            # The partial unique index makes the insert the test for another running deployment.
            # Which colour it gets is known only below.
            deployment = self._create_running(release, kind=kind, colour=COLOURS[0], **fields)
            # Read after the insert: from then on no other process switches.
            live = Release.objects.live()
            if live == release:
                raise Refused("release_already_current", f"{release} is live already.")
            if release.status == ReleaseStatus.BUILDING or release.built_at is None:
                raise Refused("release_not_built", f"{release} has no build.")
            if release.is_temporary:
                detail = f"{release} was built by a precheck, which verifies nothing that ships."
                raise Refused("release_is_temporary", detail)
            current = self.latest_switch_to(live)
            deployment.previous = live
            deployment.colour = other_colour(current.colour if current else COLOURS[1])
            deployment.save(update_fields=["previous", "colour"])
        deployment.log_change("deployment_started")
        return deployment

    def _create_running(self, release: Release, **fields: Any) -> "Deployment":
        try:
            with transaction.atomic():
                deployment = self.create(release=release, started_at=ClockTimestamp(), **fields)
                # ClockTimestamp is an expression: the value is known only after the insert.
                deployment.refresh_from_db(fields=["started_at"])
                return deployment
        except IntegrityError:
            running = self.running().select_related("release").first()
            if running is None:
                raise
            raise DeploymentInProgress(
                f"Deployment {running.number} of {running.release} is under way: wait for it."
            ) from None


class Deployment(Claimable):
    """One switch of production to a release: by whom, when, why, and how it ended."""

    # Also the number of the folder in `var/activations` that the current link names.
    number = models.BigAutoField(primary_key=True)
    release = models.ForeignKey(Release, models.PROTECT, related_name="deployments")
    previous = models.ForeignKey(
        Release, models.PROTECT, null=True, blank=True, related_name="succeeded_by"
    )
    kind = models.CharField(max_length=16, choices=DeploymentKind.choices)
    actor = models.CharField(max_length=150)
    reason = MaskedTextField(blank=True)
    run_id = models.UUIDField(null=True, blank=True)
    # Names one attempt of one run, so that a retry after a crash finds this row again.
    key = models.CharField(max_length=100, blank=True)
    colour = models.CharField(max_length=8)
    # False if no file of the backend changed: no reload hook and no health gate run.
    is_gated = models.BooleanField(default=True)
    outcome = models.CharField(
        max_length=16, choices=DeploymentOutcome.choices, default=DeploymentOutcome.RUNNING
    )
    # The present step; empty once the deployment has ended.
    progress = models.CharField(max_length=200, blank=True)
    detail = models.TextField(blank=True)
    # Shell commands to run after a failure.
    guidance = models.JSONField(default=list, blank=True)
    started_at = models.DateTimeField()
    switched_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["outcome"],
                condition=Q(outcome=DeploymentOutcome.RUNNING),
                name="releases_one_deployment_at_a_time",
            ),
            models.UniqueConstraint(
                fields=["key"], condition=~Q(key=""), name="releases_one_deployment_per_key"
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=DeploymentOutcome.values)
                & Q(kind__in=DeploymentKind.values)
                & Q(colour__in=COLOURS),
                name="releases_deployment_is_known",
            ),
            models.CheckConstraint(
                condition=Q(outcome=DeploymentOutcome.RUNNING, ended_at=None)
                | (~Q(outcome=DeploymentOutcome.RUNNING) & Q(ended_at__isnull=False)),
                name="releases_ended_deployment_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        return f"deployment {self.number}"

    @property
    def is_over(self) -> bool:
        return self.outcome != DeploymentOutcome.RUNNING

    @property
    def is_being_undone(self) -> bool:
        """Whether it failed and is not over: `detail` is written first, the outcome last."""
        return bool(self.detail) and not self.is_over

    @property
    def seconds(self) -> float | None:
        """Its duration; None while it runs."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    def record_progress(self, claim: Claim, text: str) -> None:
        """Store `text`, the present step of the deployment. Raises DeploymentLost."""
        self._write(claim, progress=text[:200])

    def start_undo(self, claim: Claim, detail: str) -> None:
        """Record why it is undone, before anything is. Raises DeploymentLost."""
        self._write(claim, detail=detail)

    def go_live(self, claim: Claim) -> None:
        """Record that the current link was switched: its release is live, the other retired."""
        with transaction.atomic():
            self._write(claim, switched_at=ClockTimestamp())
            # Locked: the old release must be retired before the new one goes live, because the
            # unique index allows one live release at every moment.
            live = Release.objects.select_for_update().live()
            if live == self.release:
                return
            if live is not None:
                live.retire()
            self.release.refresh_from_db()
            self.release.go_live()

    def succeed(self, claim: Claim) -> None:
        """Record that the health gate passed. Raises DeploymentLost."""
        with transaction.atomic():
            self._end(claim, DeploymentOutcome.SUCCEEDED)
            Release.objects.filter(pk=self.release_id).update(healthy_at=ClockTimestamp())
        self.refresh_from_db()

    def fail(
        self, claim: Claim, outcome: DeploymentOutcome, detail: str, guidance: list[str]
    ) -> None:
        """Record a failure after it was undone: `previous` is live again. Raises DeploymentLost."""
        with transaction.atomic():
            self._end(claim, outcome, detail=detail, guidance=guidance)
            release = Release.objects.select_for_update().get(pk=self.release_id)
            # Before the previous one returns: one release is live at every moment
            # (releases_one_is_live).
            release.end_failed_deployment(outcome, detail)
            if self.switched_at is not None and self.previous is not None:
                self.previous.refresh_from_db()
                self.previous.return_to_live()

    def _end(self, claim: Claim, outcome: DeploymentOutcome, **fields: Any) -> None:
        self._write(claim, outcome=outcome, ended_at=ClockTimestamp(), progress="", **fields)
        self.log_change(f"deployment_{outcome}")

    def log_change(self, event: str) -> None:
        """Log it for systemd's journal, with its fields, once it is committed."""
        extra = {"event": event, "actor": self.actor, "run": self.run_id}
        extra["release"] = self.release_id
        transaction.on_commit(lambda: log.info("%s: %s %s", self, self.kind, event, extra=extra))

    def _write(self, claim: Claim, **fields: Any) -> None:
        """Write the row if the claim is still valid. Raises DeploymentLost otherwise."""
        masked = mask_fields(fields)
        if Deployment.objects.with_valid_claim(claim).update(**masked) != 1:
            claim.lost.set()
            raise DeploymentLost
        self.refresh_from_db(fields=fields)  # they may be expressions such as ClockTimestamp
