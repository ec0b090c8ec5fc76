"""Which commit of a branch a person has seen."""

from django.db import models

from core.clock import ClockTimestamp


class LookQuerySet(models.QuerySet["Look"]):
    """Looks by their person and branch."""

    def find(self, person: str, branch: str) -> "Look | None":
        """Return the person's last look at the branch; None for a run without a branch."""
        return self.filter(person=person, branch=branch).first() if branch else None

    def record(self, person: str, branch: str, commit_sha: str) -> None:
        """Remember that the person has seen the commit of the branch, in place of the last one."""
        values = {"commit_sha": commit_sha, "at": ClockTimestamp()}
        self.update_or_create(person=person, branch=branch, defaults=values)


class Look(models.Model):
    """The commit of a branch that a person marked as seen last."""

    # A name and no foreign key, as Run.created_by.
    person = models.CharField(max_length=150)
    branch = models.CharField(max_length=200)
    commit_sha = models.CharField(max_length=40)
    at = models.DateTimeField()

    objects = LookQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["person", "branch"], name="runs_one_look_for_each_person_and_branch"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.branch} at {self.commit_sha[:12]}"
