"""Releases and deployments. Exactly one release is live: a partial unique index holds that."""

import logging
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Q

from core.claims import Claim, Claimable, ClaimableQuerySet, ClaimLost
from core.clock import ClockTimestamp, get_database_time
from host.errors import Refused
from host.masking.known_secrets import read_masks
from releases.rules import (
    COLOURS,
    MOVES,
    DeploymentKind,
    DeploymentOutcome,
    ReleaseStatus,
    make_release_id,
    other_colour,
    validate_release_id,
)

log = logging.getLogger(__name__)


class DeploymentLost(ClaimLost):
    """The claim on the deployment is lost or the caller must stop: make no further effect."""


class DeploymentInProgress(Refused):
    """Another deployment is running, or another process works on this one."""

    def __init__(self, detail: str) -> None:
        super().__init__("activation_in_progress", detail)


class ReleaseQuerySet(models.QuerySet["Release"]):
    """Releases by their state."""

    def live(self) -> "Release | None":
        return self.filter(status=ReleaseStatus.LIVE).first()

    def healthy(self) -> "ReleaseQuerySet":
        """Releases that passed a health gate once and still have a build, last activated first."""
        return self.filter(healthy_at__isnull=False, removed_at=None).order_by("-activated_at")

    def require(self, release_id: str) -> "Release":
        """Return it. Raises Refused `release_id_invalid` (400), `release_unknown` (404)."""
        release = self.filter(pk=validate_release_id(release_id)).first()
        if release is None:
            raise Refused(
                "release_unknown",
                "No such release; ./scripts/release-registry.sh list shows all releases.",
                status=404,
            )
        return release

    def start_build(self, commit: str, *, tree: str, run_id: uuid.UUID | None) -> "Release":
        """Create the release of a build that starts now."""
        at = get_database_time()
        while True:
            try:
                # A savepoint: after an IntegrityError PostgreSQL refuses the rest of the
                # transaction.
                with transaction.atomic():
                    return self.create(
                        release_id=make_release_id(commit, at),
                        commit_sha=commit,
                        tree_sha=tree,
                        run_id=run_id,
                        created_at=at,
                    )
            except IntegrityError:
                if not self.filter(pk=make_release_id(commit, at)).exists():
                    raise  # another constraint failed, which is a bug
                # An id has whole seconds: a second build of the commit within one takes the next.
                at += timedelta(seconds=1)


class Release(models.Model):
    """The build of one commit for production, and its state."""

    release_id = models.CharField(max_length=32, primary_key=True)
    commit_sha = models.CharField(max_length=40)
    tree_sha = models.CharField(max_length=40, blank=True)
    # No foreign key: the app `runs` imports this one, not the reverse.
    run_id = models.UUIDField(null=True, blank=True)
    status = models.CharField(
        max_length=16, choices=ReleaseStatus.choices, default=ReleaseStatus.BUILDING
    )
    detail = models.TextField(blank=True)
    # SHA-256 of the build's manifest.json, which has the checksums of all files.
    checksum = models.CharField(max_length=64, blank=True)
    # Migration files that the release live at the build did not have.
    migrations = models.JSONField(default=list, blank=True)
    # What its `release:` command changed in production's schema: [{kind, text}].
    schema_changes = models.JSONField(default=list, blank=True)
    # Path of the dump under `var`; empty if there is none.
    restore_point = models.CharField(max_length=200, blank=True)
    restore_command = models.TextField(blank=True)
    created_at = models.DateTimeField()
    built_at = models.DateTimeField(null=True, blank=True)
    # When its `release:` last ran on production, whether or not it went live.
    migrated_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    healthy_at = models.DateTimeField(null=True, blank=True)
    # When retention removed the build; the row stays as history.
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        # The id begins with the time of the build.
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

    def finish_build(self, *, checksum: str, migrations: list[str]) -> None:
        """Record a complete build. `checksum` is the SHA-256 of its manifest."""
        self._move(
            ReleaseStatus.BUILT,
            checksum=checksum,
            migrations=migrations,
            built_at=ClockTimestamp(),
        )

    def fail(self, detail: str) -> None:
        self._move(ReleaseStatus.FAILED, detail=detail)

    def go_live(self) -> None:
        """Become live by a new deployment."""
        self._move(ReleaseStatus.LIVE, activated_at=ClockTimestamp(), detail="")

    def return_to_live(self) -> None:
        """Become live again because the deployment that replaced this release was undone."""
        self._move(ReleaseStatus.LIVE)

    def retire(self) -> None:
        self._move(ReleaseStatus.RETIRED)

    def end_failed_deployment(self, outcome: DeploymentOutcome, detail: str) -> None:
        """Record that a deployment of this release failed.

        A release that was healthy before becomes retired, so that it can be rolled back to.
        """
        status = ReleaseStatus.RETIRED if self.was_healthy else ReleaseStatus.FAILED
        if outcome == DeploymentOutcome.STUCK:
            status = ReleaseStatus.STUCK
        if self.status != status:
            self._move(status, detail=detail)

    def record_restore_point(self, path: str, command: str) -> None:
        """Record the dump of production's database: its path under `var`, the restoring command."""
        self._write(restore_point=path, restore_command=command)

    def record_schema_changes(self, changes: list[dict[str, str]]) -> None:
        """Add what `release:` changed in production's schema; a repetition adds nothing twice."""
        earlier = [change for change in self.schema_changes if change not in changes]
        self._write(schema_changes=[*earlier, *changes], migrated_at=ClockTimestamp())

    def record_removal(self) -> None:
        """Record that retention removed the build and its restore point."""
        self._write(removed_at=ClockTimestamp(), restore_point="", restore_command="")

    def _write(self, **fields: Any) -> None:
        Release.objects.filter(pk=self.pk).update(**fields)
        self.refresh_from_db()

    def _move(self, to: ReleaseStatus, **fields: Any) -> None:
        """Change the status in one UPDATE. Raises Refused `release_move_refused`."""
        if to not in MOVES[self.status]:
            detail = f"{self} is {self.status}; it cannot become {to}."
            raise Refused("release_move_refused", detail)
        row = Release.objects.filter(pk=self.pk, status=self.status)
        if row.update(status=to, **_mask_fields(fields)) != 1:
            raise Refused("release_move_refused", f"{self} is no longer {self.status}.")
        self.refresh_from_db()


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
    reason = models.TextField(blank=True)
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
        masked = _mask_fields(fields)
        if Deployment.objects.with_valid_claim(claim).update(**masked) != 1:
            claim.lost.set()
            raise DeploymentLost
        self.refresh_from_db(fields=fields)  # they may be expressions such as ClockTimestamp


def _mask_fields(fields: dict[str, Any]) -> dict[str, Any]:
    masks = read_masks(settings.OROBOROS)
    return {name: masks.mask_data(value) for name, value in fields.items()}
