"""Targets of notifications, and the notifications that each of them gets."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.masked_fields import MaskedTextField
from core.outbox import Outgoing, OutgoingQuerySet
from notifications.rules import TargetKind, describe_address


class Target(models.Model):
    """A receiver of notifications, with the events and the branches that it is told of."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=8, choices=TargetKind.choices)
    # Both may give access to something, and are shown to no person again.
    address = models.TextField()
    secret = models.CharField(max_length=200, blank=True)
    events = models.JSONField(default=list)
    # Patterns of branches; empty: all.
    branches = models.JSONField(default=list, blank=True)
    is_enabled = models.BooleanField(default=True)
    # Why Oroboros sends it nothing any more: the receiver's answer, or who switched it off.
    disabled_reason = models.TextField(blank=True)
    # Of a person's own e-mail notices that person, else null.
    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="notification_target",
    )
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = "notification target"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=TargetKind.values), name="notifications_kind_is_known"
            ),
            models.CheckConstraint(
                condition=Q(kind=TargetKind.EMAIL, owner__isnull=False)
                | (~Q(kind=TargetKind.EMAIL) & Q(owner=None)),
                name="notifications_mail_is_a_persons",
            ),
            models.CheckConstraint(
                condition=~Q(kind=TargetKind.WEBHOOK) | ~Q(secret=""),
                name="notifications_webhooks_are_signed",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def public_address(self) -> str:
        """The address without its secrets."""
        return describe_address(self.kind, self.address)

    def disable(self, reason: str) -> None:
        """Send it nothing any more."""
        Target.objects.filter(pk=self.pk).update(is_enabled=False, disabled_reason=reason)


class NotificationQuerySet(OutgoingQuerySet["Notification"]):
    """Notifications by whether they are sent; those of a target that is off are not due."""

    def due(self) -> "NotificationQuerySet":
        return super().due().filter(target__is_enabled=True)


class Notification(Outgoing):
    """One notification to one target."""

    # The message's id for its receiver, the same in every attempt.
    message_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    target = models.ForeignKey(Target, models.CASCADE, related_name="notifications")
    event = models.CharField(max_length=32)
    # The row that led to it, and what it is about: see `rules.Notice`.
    source = models.CharField(max_length=150)
    subject = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    text = models.TextField()
    payload = models.JSONField()
    # What the receiver answered last, also if it took it.
    answer = MaskedTextField(blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(is_waiting=True, given_up_at=None),
                name="notifications_waiting",
            ),
            models.Index(fields=["wanted_at"], name="notifications_by_time"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["target", "source"], name="notifications_one_for_each_source"
            )
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.target}"

    def record_answer(self, text: str) -> None:
        Notification.objects.filter(pk=self.pk).update(answer=text)


class Cursor(models.Model):
    """The last event of the timeline up to which all are looked at. One row."""

    event_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"event {self.event_id}"
