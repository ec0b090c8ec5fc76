"""Deliveries of the forge, the pull requests that they are about, and what is reported back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Lower

from core.claims import Claimable, ClaimableQuerySet
from core.clock import ClockTimestamp
from core.masked_fields import MaskedTextField
from core.outbox import Outgoing, OutgoingQuerySet
from forges.adapters.forge import PullRequestFacts, PullRequestState
from forges.forge_settings import FORGES
from forges.rules import DeliveryDecision
from runs.models import Run


class PullRequest(models.Model):
    """A pull request of the configured repository, as the forge last described it."""

    forge = models.CharField(max_length=16)
    repository = models.CharField(max_length=200)
    number = models.PositiveIntegerField()
    title = models.TextField()
    body = models.TextField(blank=True)
    url = models.TextField(blank=True)
    author = models.CharField(max_length=150, blank=True)
    head_branch = models.CharField(max_length=255)
    head_sha = models.CharField(max_length=64)
    base_branch = models.CharField(max_length=255)
    is_fork = models.BooleanField()
    is_draft = models.BooleanField()
    state = models.CharField(max_length=8, choices=[(one, one) for one in PullRequestState])
    labels = models.JSONField(default=list, blank=True)
    # Whether the author may write to the repository; null while that is not known.
    has_access = models.BooleanField(null=True, blank=True)
    # The forge's time of this description: an event with an earlier one came out of order.
    described_at = models.DateTimeField()
    # The latest run that was made for it, or that it found for its branch.
    run = models.ForeignKey(
        Run, models.SET_NULL, null=True, blank=True, related_name="pull_requests"
    )
    effect = models.CharField(max_length=8, blank=True)
    reason = MaskedTextField(blank=True)
    # The commit of an untrusted author that an operator allowed to run here.
    allowed_sha = models.CharField(max_length=64, blank=True)
    allowed_by = models.CharField(max_length=150, blank=True)
    # Set while it is to be decided again without a delivery.
    is_due = models.BooleanField(default=False)
    # A preview is wanted and waits: for an external check, or for the author's other previews.
    is_requested = models.BooleanField(default=False)
    # A comment with /preview asked for its preview, whatever the policy says.
    is_commanded = models.BooleanField(default=False)
    # What the latest command in a comment led to.
    answer = MaskedTextField(blank=True)
    # What of it and its run was last put into the outbox, see `reporting.announcements`.
    announced = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["forge", "repository", "number"], name="forges_one_row_per_pull_request"
            ),
            models.CheckConstraint(
                condition=Q(state__in=list(PullRequestState)), name="forges_state_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.title}"

    @property
    def actor(self) -> str:
        """The name with which runs and events record that the pull request led to them."""
        return f"pull request #{self.number}"

    @property
    def facts(self) -> PullRequestFacts:
        return PullRequestFacts(
            number=self.number,
            title=self.title,
            body=self.body,
            url=self.url,
            author=self.author,
            head_branch=self.head_branch,
            head_sha=self.head_sha,
            base_branch=self.base_branch,
            is_fork=self.is_fork,
            is_draft=self.is_draft,
            state=PullRequestState(self.state),
            labels=tuple(self.labels),
            updated_at=self.described_at,
            has_access=self.has_access,
        )

    def allow(self, sha: str, *, by: str) -> bool:
        """Let the code of that head run here; False if the head is another one by now."""
        row = PullRequest.objects.filter(pk=self.pk, head_sha=sha)
        return row.update(allowed_sha=sha, allowed_by=by, is_due=True) == 1


def to_columns(facts: PullRequestFacts) -> dict[str, Any]:
    """Return the columns that hold the facts."""
    return {
        "title": facts.title,
        "body": facts.body,
        "url": facts.url,
        "author": facts.author,
        "head_branch": facts.head_branch,
        "head_sha": facts.head_sha,
        "base_branch": facts.base_branch,
        "is_fork": facts.is_fork,
        "is_draft": facts.is_draft,
        "state": facts.state,
        "labels": list(facts.labels),
        "has_access": facts.has_access,
        "described_at": facts.updated_at,
    }


class DeliveryQuerySet(ClaimableQuerySet["Delivery"]):
    """Deliveries by what became of them."""

    def queued(self) -> "DeliveryQuerySet":
        """Those without a decision, in the order in which they came."""
        return self.filter(decision=DeliveryDecision.QUEUED).order_by("pk")

    def due(self) -> "DeliveryQuerySet":
        """Those to decide now: not those that the forge's silence postponed."""
        return self.queued().filter(Q(due_at=None) | Q(due_at__lte=ClockTimestamp()))

    def received_before(self, at: datetime) -> "DeliveryQuerySet":
        return self.filter(received_at__lt=at)


class Delivery(Claimable):
    """One request of the forge whose signature was right."""

    forge = models.CharField(max_length=16)
    delivery_id = models.CharField(max_length=200)
    event = models.CharField(max_length=100, blank=True)
    # Of the headers those that say what was sent by which program; never a secret.
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    received_at = models.DateTimeField()
    # How often the same delivery came again; it was answered, and led to nothing more.
    repeats = models.PositiveIntegerField(default=0)
    decision = models.CharField(
        max_length=8, choices=DeliveryDecision.choices, default=DeliveryDecision.QUEUED
    )
    reason = MaskedTextField(blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    pull_request = models.ForeignKey(
        PullRequest, models.SET_NULL, null=True, blank=True, related_name="deliveries"
    )
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="+")
    # An operator had it decided again.
    is_repeated = models.BooleanField(default=False)
    # Failures of the forge in a row while it was decided, and when it is tried again.
    failures = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["id"],
                condition=Q(decision=DeliveryDecision.QUEUED),
                name="forges_queued_deliveries",
            ),
            models.Index(fields=["received_at"], name="forges_deliveries_by_time"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["forge", "delivery_id"], name="forges_one_row_per_delivery"
            ),
            models.CheckConstraint(
                condition=Q(decision__in=DeliveryDecision.values),
                name="forges_decision_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event or 'delivery'} {self.delivery_id}"

    def decide(self, decision: DeliveryDecision, reason: str, **fields: Any) -> None:
        """Record what became of it."""
        Delivery.objects.filter(pk=self.pk).update(
            decision=decision,
            reason=reason,
            decided_at=ClockTimestamp(),
            attempts=0,
            failures=0,
            due_at=None,
            **fields,
        )

    def postpone(self, reason: str, seconds: float) -> None:
        """Have it decided again in so many seconds; the forge did not answer what decides it."""
        Delivery.objects.filter(pk=self.pk).update(
            reason=reason,
            due_at=ClockTimestamp() + timedelta(seconds=seconds),
            failures=F("failures") + 1,
            attempts=0,
        )

    def repeat(self) -> bool:
        """Have it decided again, now; False if it is about to be."""
        row = Delivery.objects.filter(pk=self.pk).exclude(
            decision=DeliveryDecision.QUEUED, due_at=None
        )
        fields = {"reason": "", "attempts": 0, "failures": 0, "due_at": None, "is_repeated": True}
        return row.update(decision=DeliveryDecision.QUEUED, **fields) == 1


class OutgoingMessageQuerySet(OutgoingQuerySet["OutgoingMessage"]):
    """Messages to the forge, of which each target has one."""

    def of_repository(self, forge: str, repository: str) -> "OutgoingMessageQuerySet":
        return self.filter(pull_request__forge=forge, pull_request__repository=repository)

    @transaction.atomic
    def replace(self, row: PullRequest, wanted: Mapping[str, dict[str, Any]]) -> None:
        """Want these messages, by target, of the pull request.

        A text that waits is superseded by the new one; so are the waiting statuses and deployments
        of other commits. One that is as wanted already is left.
        """
        is_of_commit = Q(target__startswith="status:") | Q(target__startswith="deployment:")
        others = self.filter(is_of_commit, pull_request=row)
        others = others.exclude(target__in=list(wanted))
        reason = "Superseded by what was reported of a newer commit."
        others.filter(is_waiting=True).update(is_waiting=False, error=reason)
        for target, text in wanted.items():
            self.want(row, target, text)

    def want(self, row: PullRequest, target: str, wanted: dict[str, Any]) -> None:
        """Want one message of the pull request; the others are left."""
        now = ClockTimestamp()
        fields = {"wanted": wanted, "wanted_at": now, "is_waiting": True, "given_up_at": None}
        message, is_new = self.get_or_create(
            pull_request=row, target=target, defaults={**fields, "due_at": now}
        )
        is_current = message.wanted == wanted and (message.is_waiting or not message.error)
        if not is_new and not is_current:
            # `due_at` stays: it may be when the forge accepts requests again.
            self.filter(pk=message.pk).update(**fields, error="")


class OutgoingMessage(Outgoing):
    """One target of a pull request on the forge, a commit status or the comment, and its text."""

    pull_request = models.ForeignKey(PullRequest, models.CASCADE, related_name="messages")
    # `comment`, `status:<commit>:<context>`, `deployment:<commit>:<environment>`, or
    # `reaction:<comment>`.
    target = models.CharField(max_length=150)
    # The newest text; `is_waiting` says whether the forge lacks it.
    wanted = models.JSONField()
    # The id of the comment or the deployment on the forge, once it is known.
    remote_id = models.BigIntegerField(null=True, blank=True)

    objects = OutgoingMessageQuerySet.as_manager()

    class Meta:
        verbose_name = "message to the forge"
        verbose_name_plural = "messages to the forge"
        ordering = ["-wanted_at", "-pk"]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(is_waiting=True, given_up_at=None),
                name="forges_waiting_messages",
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "target"], name="forges_one_row_per_target"
            )
        ]

    def __str__(self) -> str:
        return f"{self.target} of {self.pull_request.actor}"

    @property
    def target_name(self) -> str:
        """The target in short: `comment`, or the status or environment and its commit."""
        _, _, rest = self.target.partition(":")
        sha, _, context = rest.partition(":")
        return f"{context} of {sha[:12]}" if context else self.target


class LinkedAccount(models.Model):
    """An account of the forge that is a person's here: /ship approves in that person's name."""

    forge = models.CharField(max_length=16, choices=[(one, one) for one in FORGES])
    login = models.CharField(max_length=150, help_text="The name of the account on the forge.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="forge_accounts"
    )

    class Meta:
        ordering = ["forge", "login"]
        constraints = [
            models.UniqueConstraint(
                "forge",
                Lower("login"),
                name="forges_one_user_per_account",
                violation_error_message="This account is linked already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.login} on {self.forge}"
