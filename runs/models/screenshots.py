"""Pictures of a ready run's preview, and of production at that time."""

from django.db import models
from django.db.models import Q

from core.claims import Claim
from core.clock import ClockTimestamp
from runs.models.run import Run
from runs.models.side_work import SideWork, SideWorkQuerySet
from runs.screenshots.rules import OPEN, ScreenshotStatus


class ScreenshotSetQuerySet(SideWorkQuerySet["ScreenshotSet"]):
    """Sets of pictures by their state and their host."""


class ScreenshotSet(SideWork):
    """The pictures of one commit of a run, as its preview showed it; the files are artifacts."""

    OPEN = OPEN

    run = models.ForeignKey(Run, models.CASCADE, related_name="screenshot_sets")
    # Which was live while production's pictures were taken; null: none was.
    release = models.ForeignKey(
        "releases.Release", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    status = models.CharField(
        max_length=16, choices=ScreenshotStatus.choices, default=ScreenshotStatus.WAITING
    )
    # Of each page and device: see `runs.screenshots.rules.describe_pair`.
    pictures = models.JSONField(default=list, blank=True)

    objects = ScreenshotSetQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=ScreenshotStatus.values),
                name="runs_screenshot_status_is_known",
            ),
            models.UniqueConstraint(
                fields=["run"], condition=Q(status__in=OPEN), name="runs_one_open_screenshot_set"
            ),
            models.UniqueConstraint(
                fields=["run", "generation", "commit_sha"],
                name="runs_one_screenshot_set_per_commit",
            ),
        ]

    def __str__(self) -> str:
        return f"screenshots of {self.commit_sha[:12]}"

    def start(self, claim: Claim) -> None:
        """Begin with the first picture; what an earlier attempt stored is forgotten."""
        self.update(
            claim,
            status=ScreenshotStatus.RUNNING,
            started_at=ClockTimestamp(),
            release=None,
            pictures=[],
            detail="",
        )

    def wait(self, claim: Claim, reason: str) -> None:
        """Wait again."""
        self.update(claim, status=ScreenshotStatus.WAITING, started_at=None, detail=reason)

    def end(self, claim: Claim, to: ScreenshotStatus, detail: str = "") -> None:
        self.update(claim, status=to, detail=detail, ended_at=ClockTimestamp())
