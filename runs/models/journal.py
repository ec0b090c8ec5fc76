"""The journal of a run: its steps, events and artifacts."""

from django.db import models
from django.db.models import Q

from core.masked_fields import MaskedTextField
from runs.rules import StepStatus


class Step(models.Model):
    """One recorded step of a run. A repeated step is the same row with a higher `attempt`."""

    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="steps")
    # A new commit on the branch starts a new generation, whose steps all run again.
    generation = models.PositiveIntegerField(default=1)
    name = models.CharField(max_length=32)
    status = models.CharField(max_length=16, choices=StepStatus.choices)
    attempt = models.PositiveIntegerField(default=1)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    detail = models.TextField(blank=True)
    result = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["started_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "generation", "name"], name="runs_one_row_per_step"
            ),
            models.CheckConstraint(
                condition=Q(status__in=StepStatus.values), name="runs_step_status_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.status})"

    @property
    def seconds(self) -> float | None:
        """The duration of the last attempt; None while it runs."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


class Event(models.Model):
    """One line of a run's append-only timeline; of a slot or of shipping if `run` is null."""

    run = models.ForeignKey(
        "runs.Run", models.CASCADE, null=True, blank=True, related_name="events"
    )
    slot_id = models.CharField(max_length=32, blank=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    kind = models.CharField(max_length=48)
    text = models.TextField()
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        # By id and not by time: the events of one statement share their time.
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["run", "-id"], name="runs_events_of_a_run"),
            models.Index(fields=["kind", "-id"], name="runs_events_of_a_kind"),
        ]

    def __str__(self) -> str:
        return self.text


class Artifact(models.Model):
    """A file that a step left; `path` is relative to `runs.engine.artifacts.artifacts_folder`."""

    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="artifacts")
    step = models.ForeignKey(Step, models.SET_NULL, null=True, blank=True, related_name="artifacts")
    generation = models.PositiveIntegerField(default=1)
    name = models.CharField(max_length=64)
    path = models.CharField(max_length=255)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "generation", "name"], name="runs_one_artifact_per_name"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Heartbeat(models.Model):
    """When something that recurs last happened: the queue's heartbeat, a scheduled task."""

    name = models.CharField(max_length=32, primary_key=True)
    at = models.DateTimeField()
    detail = MaskedTextField(blank=True)

    def __str__(self) -> str:
        return self.name
