"""The run: one branch or commit on its way to production, and its state changes."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q, Value

from core.claims import Claim, Claimable, ClaimableQuerySet, ClaimLost
from core.clock import ClockTimestamp
from core.masked_fields import MaskedCharField, MaskedTextField
from host.errors import Refused
from host.masking.known_secrets import read_masks
from runs.labels import build_label
from runs.rules import FAILURES, FINAL, MERGING_OR_DEPLOYING, MOVES, SHIPPING, Status
from slots.models import Lease


class MoveRefused(Refused):
    """The run is not in a state, or not in the state any more, from which this move begins."""

    def __init__(self, detail: str) -> None:
        super().__init__("move_refused", detail)


class RunQuerySet(ClaimableQuerySet["Run"]):
    """Runs by their state and their host."""

    def unfinished(self) -> "RunQuerySet":
        return self.exclude(status__in=FINAL)

    def shipping(self) -> "RunQuerySet":
        """Approved, merging or deploying, in the order of their approval."""
        return self.filter(status__in=SHIPPING).order_by("approved_at", "id")

    def on_host(self, host: str) -> "RunQuerySet":
        """The runs that the workers of `host` work on: all but those with a slot elsewhere."""
        elsewhere = Lease.objects.filter(run=OuterRef("pk"), slot__isnull=False)
        return self.exclude(Exists(elsewhere.exclude(slot__host=host)))


class Run(Claimable):
    """One branch or commit on its way from queued to merged, or a reservation of a slot."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = MaskedCharField(max_length=200)
    branch = models.CharField(max_length=200, blank=True)
    commit_sha = models.CharField(max_length=40, blank=True)
    # When the remote was first seen to have the branch. A run of a commit may name a branch that
    # the remote never had; it is not canceled when that is missing.
    branch_seen_at = models.DateTimeField(null=True, blank=True)
    # False: a reservation. Its creator acquires, heartbeats and releases the slot over the API.
    prepare = models.BooleanField(default=True)
    priority = models.SmallIntegerField(default=0)
    parent = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="children"
    )
    # A name and no foreign key: tokens and the host's shell have no user's row.
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    generation = models.PositiveIntegerField(default=1)
    failure_code = models.CharField(max_length=32, blank=True)
    failure_detail = models.TextField(blank=True)
    next_action = models.TextField(blank=True)
    # What the application brings that is not honored, or that a reviewer should know: a list of
    # {"generation", "step", "text"}, see `list_notes`.
    notes = models.JSONField(default=list, db_default=Value([], models.JSONField()), blank=True)
    # What merging the commit into the target branch gives, see `runs.pipelines.merge_forecast`:
    # {"commit", "base", "outcome", "conflicts"}; {} until it is known.
    merge_forecast = models.JSONField(
        default=dict, db_default=Value({}, models.JSONField()), blank=True
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    # A requested move of a run that a process has claimed: that process makes it (request_stop).
    stop_status = models.CharField(max_length=16, blank=True)
    stop_code = models.CharField(max_length=32, blank=True)
    stop_actor = models.CharField(max_length=150, blank=True)
    stop_reason = MaskedTextField(blank=True)
    # When `enqueue_unclaimed_runs` last enqueued it.
    enqueued_at = models.DateTimeField(null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    # Set while an approved run waits for external checks (SHIP_REQUIRED_CHECKS): a sentence.
    awaited_checks = MaskedTextField(blank=True, db_default="")
    # The commit that the candidate is merged into, and the candidate. They are equal if a commit
    # that is merged already is only deployed again.
    base_sha = models.CharField(max_length=40, blank=True)
    candidate_sha = models.CharField(max_length=40, blank=True)
    # null until the step `push`; False: the push mode leaves the push to a person.
    pushed = models.BooleanField(null=True, blank=True)
    release = models.ForeignKey(
        "releases.Release", models.SET_NULL, null=True, blank=True, related_name="+"
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="runs_newest_first"),
            models.Index(
                fields=["approved_at", "id"],
                condition=Q(status__in=SHIPPING),
                name="runs_merge_queue",
            ),
            # For the charts, which need no other column of those rows.
            models.Index(
                fields=["ended_at"],
                include=["status", "created_at", "failure_code"],
                condition=Q(status__in=(Status.MERGED, Status.FAILED)),
                name="runs_merged_or_failed",
            ),
            models.Index(
                fields=["commit_sha"],
                condition=Q(status=Status.MERGED),
                name="runs_merged_commits",
            ),
            models.Index(
                fields=["-created_at", "-id"],
                condition=Q(pushed=False, status__in=(Status.MERGED, Status.FAILED))
                & ~Q(candidate_sha=""),
                name="runs_not_pushed",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="runs_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(failure_code__in=("", *FAILURES)), name="runs_failure_code_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.FAILED) | ~Q(failure_code=""),
                name="runs_failed_run_has_a_code",
            ),
            models.CheckConstraint(
                condition=Q(status__in=FINAL, ended_at__isnull=False)
                | (~Q(status__in=FINAL) & Q(ended_at=None)),
                name="runs_final_run_has_ended",
            ),
            models.UniqueConstraint(
                # A constant is the key, so the condition may hold for one row
                # (docs/decisions/0009).
                Value(1),
                condition=Q(status__in=MERGING_OR_DEPLOYING),
                name="runs_one_ships_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def label(self) -> str:
        """The name of the run's preview in its host name, the same for all runs of a branch."""
        return build_label(self.branch, commit=self.commit_sha, run_id=str(self.pk))

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    def list_notes(self) -> list[str]:
        """Return the notes on the run's current commit, in the order of the steps."""
        return [note["text"] for note in self.notes if note["generation"] == self.generation]

    def list_ancestors(self) -> "list[Run]":
        """Return the runs that this one retries, the nearest first."""
        ancestors, parent = [], self.parent
        while parent is not None:
            ancestors.append(parent)
            parent = parent.parent
        return ancestors

    def list_merge_chain(self) -> "list[Run]":
        """Return this run and those it retries whose merges are adjacent to its own, newest first.

        No other run was merged between them, so the last one's base precedes them all.
        """
        chain = [self]
        for ancestor in self.list_ancestors():
            if ancestor.candidate_sha and ancestor.candidate_sha == chain[-1].base_sha:
                chain.append(ancestor)
        return chain

    def choose_next_action(self, code: str, next_action: str = "") -> str:
        """Return `next_action`, else the remedy of the failure code, else the present text."""
        return next_action or (FAILURES[code].remedy if code else self.next_action)

    def move(self, to: Status, *, claim: Claim | None = None, **fields: Any) -> None:
        """Change the status, and other `fields`, in one UPDATE; a final status sets `ended_at`.

        Secrets in the fields are masked.

        With a `claim` the row is written only while the claim is valid. Raises MoveRefused if
        the move is not in MOVES or another process moved the run first, ClaimLost if the claim
        is lost.
        """
        if to not in MOVES.get(self.status, ()):
            raise MoveRefused(f"The run is {self.status}; it cannot become {to}.")
        masks = read_masks(settings.OROBOROS)
        fields = {name: masks.mask_data(value) for name, value in fields.items()}
        if to in FINAL:
            fields["ended_at"] = ClockTimestamp()
        rows = (
            Run.objects.filter(pk=self.pk) if claim is None else Run.objects.with_valid_claim(claim)
        )
        # On the status that was read: of two processes that move the run one succeeds.
        if rows.filter(status=self.status).update(status=to, **fields) != 1:
            if claim is not None and not Run.objects.with_valid_claim(claim).exists():
                raise ClaimLost
            raise MoveRefused(f"The run is no longer {self.status}.")
        self.refresh_from_db()

    def request_stop(self, *, to: Status, code: str = "", reason: str, actor: str) -> None:
        """Have the process that has claimed the run stop its commands and move the run to `to`."""
        Run.objects.filter(pk=self.pk).update(
            stop_status=to, stop_code=code, stop_reason=reason, stop_actor=actor
        )
