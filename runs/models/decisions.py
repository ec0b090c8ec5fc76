"""What people decide: approvals of commits, and freezes of shipping."""

from django.db import models
from django.db.models import Q, Value

from core.masked_fields import MaskedTextField


class ApprovalQuerySet(models.QuerySet["Approval"]):
    """Approvals and rejections by their validity."""

    def valid(self) -> "ApprovalQuerySet":
        """Approvals that no new commit has voided, the last first: one of each person."""
        return self.filter(verdict=Approval.APPROVED, voided_at=None)


class Approval(models.Model):
    """A person's approval or rejection of one commit of a run. A new commit voids an approval."""

    APPROVED, REJECTED = "approved", "rejected"

    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="approvals")
    commit_sha = models.CharField(max_length=40)
    verdict = models.CharField(
        max_length=16, choices=[(APPROVED, "approved"), (REJECTED, "rejected")]
    )
    actor = models.CharField(max_length=150)
    # The account behind the actor, and what CODEOWNERS may call it: as they were then.
    person = models.CharField(max_length=150, blank=True, default="", db_default="")
    identities = models.JSONField(
        default=list, db_default=Value([], models.JSONField()), blank=True
    )
    # The items of the target branch's checklist, which the person confirmed.
    checklist = models.JSONField(default=list, db_default=Value([], models.JSONField()), blank=True)
    reason = MaskedTextField(blank=True)
    at = models.DateTimeField()
    voided_at = models.DateTimeField(null=True, blank=True)
    void_reason = MaskedTextField(blank=True)
    # The branch's own checks run in place of the target branch's: the approver accepted them.
    accepts_checks = models.BooleanField(default=False)

    objects = ApprovalQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "person"],
                condition=Q(verdict="approved", voided_at=None),
                name="runs_one_valid_approval_of_a_person",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=("approved", "rejected")), name="runs_verdict_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} by {self.actor}"

    def is_valid_for(self, commit: str) -> bool:
        """Return whether it approves that commit, and no new one has voided it."""
        is_approval = self.verdict == self.APPROVED and self.voided_at is None
        return is_approval and self.commit_sha == commit


class Freeze(models.Model):
    """Shipping is stopped for all, by a person, a rollback, or a run whose deployment failed.

    It is active until `until`, or until it is lifted.
    """

    run = models.ForeignKey(
        "runs.Run", models.CASCADE, null=True, blank=True, related_name="freezes"
    )
    # The rollback that caused it: one freeze at most, so that a lifted one does not return.
    rollback = models.OneToOneField(
        "releases.Deployment", models.CASCADE, null=True, blank=True, related_name="freeze"
    )
    actor = models.CharField(max_length=150)
    reason = MaskedTextField()
    since = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.CharField(max_length=150, blank=True)
    lift_reason = MaskedTextField(blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run"], condition=Q(lifted_at=None), name="runs_one_freeze_per_run"
            )
        ]

    def __str__(self) -> str:
        return self.reason
