"""Releases: builds of commits for production. A partial unique index holds that one is live."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Q

from core.clock import ClockTimestamp, get_database_time
from core.masked_fields import MaskedCharField
from host.errors import Refused
from host.masking.known_secrets import read_masks
from releases.rules import (
    MOVES,
    DeploymentOutcome,
    ReleaseStatus,
    make_release_id,
    validate_release_id,
)

TITLE_LENGTH = 200


class ReleaseQuerySet(models.QuerySet["Release"]):
    """Releases by their state."""

    def live(self) -> "Release | None":
        return self.filter(status=ReleaseStatus.LIVE).first()

    def healthy(self) -> "ReleaseQuerySet":
        """Releases that passed a health gate once and still have a build, last activated first."""
        return self.filter(healthy_at__isnull=False, removed_at=None).order_by("-activated_at")

    def listed(self) -> "ReleaseQuerySet":
        """Releases that people choose from: not those of a precheck, which end with it."""
        return self.filter(is_temporary=False)

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

    def start_build(
        self,
        commit: str,
        *,
        tree: str,
        run_id: uuid.UUID | None,
        title: str = "",
        is_temporary: bool = False,
    ) -> "Release":
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
                        title=title[:TITLE_LENGTH],
                        is_temporary=is_temporary,
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
    # The run's title, else the commit's subject; "" for a release of an older version.
    title = MaskedCharField(max_length=TITLE_LENGTH, blank=True, db_default="")
    commit_sha = models.CharField(max_length=40)
    tree_sha = models.CharField(max_length=40, blank=True)
    # No foreign key: the app `runs` imports this one, not the reverse. A temporary release has its
    # precheck's id.
    run_id = models.UUIDField(null=True, blank=True)
    # Built by a precheck, which deletes it at its end: it is never deployed.
    is_temporary = models.BooleanField(default=False, db_default=False)
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
        if row.update(status=to, **mask_fields(fields)) != 1:
            raise Refused("release_move_refused", f"{self} is no longer {self.status}.")
        self.refresh_from_db()


def mask_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a row without the values of secrets."""
    masks = read_masks(settings.OROBOROS)
    return {name: masks.mask_data(value) for name, value in fields.items()}
