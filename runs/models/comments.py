"""What people say about a run's commit: comments on it, on a file of it, on a line."""

from django.db import models
from django.db.models import Q

from core.clock import ClockTimestamp


class Comment(models.Model):
    """A comment on a commit of a run, with `path` on a file of it, with `line` on a line.

    `side` says which file the line is of: the new one, or for a deleted line the old one. `quote`
    is the line as it was: a new commit changes the numbers of lines, and loses no comment.
    """

    NEW, OLD = "new", "old"

    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="comments")
    commit_sha = models.CharField(max_length=40)
    path = models.TextField(blank=True)
    side = models.CharField(max_length=3, blank=True, choices=[(NEW, "new"), (OLD, "old")])
    line = models.PositiveIntegerField(null=True, blank=True)
    quote = models.TextField(blank=True)
    text = models.TextField()
    actor = models.CharField(max_length=150)
    at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                # Not line__gte alone: NULL >= 1 is NULL, which a constraint lets pass.
                condition=Q(line=None, side="")
                | Q(line__isnull=False, line__gte=1, side__in=("new", "old")),
                name="runs_comment_line_has_a_side",
            ),
            models.CheckConstraint(
                condition=Q(line=None) | ~Q(path=""), name="runs_comment_line_has_a_path"
            ),
        ]

    def __str__(self) -> str:
        return f"comment {self.pk}"

    @property
    def place(self) -> str:
        """What it is about, such as `app.py line 3`; "the run" without a path."""
        if self.line is None:
            return self.path or "the run"
        return f"{self.path} {'deleted ' if self.side == self.OLD else ''}line {self.line}"

    def resolve(self, *, by: str) -> bool:
        """Mark it as resolved; False if it was already."""
        comments = Comment.objects.filter(pk=self.pk, resolved_at=None)
        return comments.update(resolved_at=ClockTimestamp(), resolved_by=by) == 1

    def reopen(self) -> bool:
        """Mark it as not resolved; False if it was not resolved."""
        comments = Comment.objects.filter(pk=self.pk).exclude(resolved_at=None)
        return comments.update(resolved_at=None, resolved_by="") == 1
