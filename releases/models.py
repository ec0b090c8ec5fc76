"""Releases and the switches to them. Exactly one is live, and the database says so."""

from django.db import models
from django.db.models import Q

from releases.rules import ReleaseStatus


class Release(models.Model):
    """One commit built for production, and its state."""

    release_id = models.CharField(max_length=32, primary_key=True)
    commit_sha = models.CharField(max_length=40)
    # Named by its id alone: releases know nothing of runs.
    run_id = models.UUIDField(null=True, blank=True)
    status = models.CharField(
        max_length=16, choices=ReleaseStatus.choices, default=ReleaseStatus.BUILDING
    )
    migrations = models.JSONField(default=list, blank=True)
    built_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-release_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["status"],
                condition=Q(status=ReleaseStatus.LIVE),
                name="releases_one_is_live",
            )
        ]

    def __str__(self) -> str:
        return self.release_id
