"""Slots and the leases on them. The database keeps the promises (see the constraints)."""

from datetime import datetime

from django.db import models
from django.db.models import Expression, Q

from slots.rules import ON_SLOT, LeaseState


class Slot(models.Model):
    """A fixed place on a host: a web port, a backend port and a database of its own."""

    slot_id = models.CharField(max_length=32, unique=True)
    number = models.PositiveSmallIntegerField()
    host = models.CharField(max_length=255)
    # The last fence given out; it only grows, so an old holder is known by its number.
    fence = models.PositiveBigIntegerField(default=0)
    drained_at = models.DateTimeField(null=True, blank=True)
    drained_by = models.CharField(max_length=150, blank=True)
    drain_reason = models.TextField(blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    quarantine_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["host", "number"], name="slots_one_slot_per_number")
        ]

    def __str__(self) -> str:
        return self.slot_id


class LeaseQuerySet(models.QuerySet["Lease"]):
    """Leases by what they are."""

    def good(self, at: datetime | Expression) -> "LeaseQuerySet":
        """Held, and not run out at the database's time `at`."""
        return self.filter(Q(is_pinned=True) | Q(expires_at__gt=at), state=LeaseState.HELD)


class Lease(models.Model):
    """The right of one run to one slot for a while, or its place in the waiting line."""

    slot = models.ForeignKey(Slot, models.PROTECT, null=True, blank=True, related_name="leases")
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="leases")
    state = models.CharField(max_length=16, choices=LeaseState.choices, default=LeaseState.WAITING)
    priority = models.SmallIntegerField(default=0)
    ttl_seconds = models.PositiveIntegerField()
    fence = models.PositiveBigIntegerField(null=True, blank=True)
    # Held open while approved, merging and deploying: it does not expire.
    is_pinned = models.BooleanField(default=False)
    # Something of the run may be on the machine, so that ending it means cleaning first.
    is_occupied = models.BooleanField(default=False)
    asked_at = models.DateTimeField()
    # A waiting reservation that has not asked again by then leaves the line; null: it may wait.
    waits_until = models.DateTimeField(null=True, blank=True)
    granted_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    ending_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # The code or the move that ended it.
    end_reason = models.TextField(blank=True)
    # Times that cleaning was tried; what cannot be cleaned is quarantined.
    cleanings = models.PositiveSmallIntegerField(default=0)
    # Restarts in a row of a backend that died, and when the back-off of the last one is over.
    restarts = models.PositiveSmallIntegerField(default=0)
    restart_at = models.DateTimeField(null=True, blank=True)
    # The first failed probe in a row of a backend whose process runs.
    unhealthy_at = models.DateTimeField(null=True, blank=True)

    objects = LeaseQuerySet.as_manager()

    class Meta:
        ordering = ["-priority", "asked_at", "id"]
        indexes = [
            models.Index(
                fields=["-priority", "asked_at", "id"],
                condition=Q(state=LeaseState.WAITING),
                name="slots_waiting_line",
            ),
            models.Index(
                fields=["waits_until"],
                condition=Q(state=LeaseState.WAITING, waits_until__isnull=False),
                name="slots_silent_waiters",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["slot"],
                condition=Q(state__in=ON_SLOT),
                name="slots_one_lease_on_a_slot",
            ),
            models.UniqueConstraint(
                fields=["run"],
                condition=~Q(state=LeaseState.ENDED),
                name="slots_one_open_lease_per_run",
            ),
            models.UniqueConstraint(fields=["slot", "fence"], name="slots_no_fence_twice"),
            models.CheckConstraint(
                condition=Q(state__in=LeaseState.values), name="slots_lease_state_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=ON_SLOT)
                | Q(
                    slot__isnull=False,
                    fence__isnull=False,
                    granted_at__isnull=False,
                    expires_at__isnull=False,
                ),
                name="slots_lease_on_a_slot_is_whole",
            ),
            models.CheckConstraint(
                condition=~Q(state=LeaseState.WAITING) | Q(slot__isnull=True, fence__isnull=True),
                name="slots_waiting_lease_has_no_slot",
            ),
        ]

    def __str__(self) -> str:
        return f"lease {self.pk} ({self.state})"
