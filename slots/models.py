"""Slots, and the leases on them: their state changes and the constraints that guard them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Expression, F, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest

from core.clock import ClockTimestamp
from core.masked_fields import MaskedTextField
from host.errors import Refused
from slots.rules import LEASE_MOVES, STATES_WITH_SLOT, LeaseState


class SlotQuerySet(models.QuerySet["Slot"]):
    """Slots by their host."""

    def on_host(self, host: str) -> "SlotQuerySet":
        """The slots of one host. Slot ids repeat from host to host, so every look-up needs this."""
        return self.filter(host=host)


class Slot(models.Model):
    """A fixed place on a host: a web port, a backend port and a database of its own."""

    slot_id = models.CharField(max_length=32)
    number = models.PositiveSmallIntegerField()
    host = models.CharField(max_length=255)
    # The last fencing token given out. It only grows, so an older token is known to be stale.
    fence = models.PositiveBigIntegerField(default=0)
    drained_at = models.DateTimeField(null=True, blank=True)
    drained_by = models.CharField(max_length=150, blank=True)
    drain_reason = MaskedTextField(blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    quarantine_reason = MaskedTextField(blank=True)
    # It is quarantined only while the reconciler cleans it, and not by a person.
    is_being_cleaned = models.BooleanField(default=False, db_default=False)

    objects = SlotQuerySet.as_manager()

    class Meta:
        ordering = ["host", "number"]
        constraints = [
            models.UniqueConstraint(fields=["host", "number"], name="slots_one_slot_per_number"),
            models.UniqueConstraint(fields=["host", "slot_id"], name="slots_one_slot_per_id"),
            models.CheckConstraint(
                condition=Q(is_being_cleaned=False) | Q(quarantined_at__isnull=False),
                name="slots_a_slot_being_cleaned_is_quarantined",
            ),
        ]

    def __str__(self) -> str:
        return self.slot_id

    # Each of these returns False, and changes nothing, if the slot is in that state already.

    def quarantine(self, *, reason: str) -> bool:
        """Stop granting the slot until a person returns it to service, also after a cleaning."""
        return self._update(
            Q(quarantined_at=None) | Q(is_being_cleaned=True),
            quarantined_at=ClockTimestamp(),
            quarantine_reason=reason,
            is_being_cleaned=False,
        )

    def begin_cleaning(self, *, reason: str) -> bool:
        """Stop granting the slot while it is cleaned. Begins again what a killed process began."""
        return self._update(
            Q(quarantined_at=None) | Q(is_being_cleaned=True),
            quarantined_at=ClockTimestamp(),
            quarantine_reason=reason,
            is_being_cleaned=True,
        )

    def end_cleaning(self) -> bool:
        """Grant the slot again, unless a person has quarantined it since `begin_cleaning`."""
        return self._end_quarantine(Q(is_being_cleaned=True))

    def end_quarantine(self) -> bool:
        """Grant the slot again."""
        return self._end_quarantine(Q(quarantined_at__isnull=False))

    def _end_quarantine(self, condition: Q) -> bool:
        return self._update(
            condition, quarantined_at=None, quarantine_reason="", is_being_cleaned=False
        )

    def drain(self, *, reason: str, actor: str) -> bool:
        """Stop granting the slot; its holder keeps it."""
        fields = {"drained_at": ClockTimestamp(), "drained_by": actor, "drain_reason": reason}
        return self._update(Q(drained_at=None), **fields)

    def undrain(self) -> bool:
        """Grant the slot again."""
        return self._update(
            Q(drained_at__isnull=False), drained_at=None, drained_by="", drain_reason=""
        )

    def _update(self, condition: Q, **fields: Any) -> bool:
        if not Slot.objects.filter(condition, pk=self.pk).update(**fields):
            return False
        self.refresh_from_db()
        return True


class LeaseMoveRefused(Refused):
    """The lease is not in a state, or not in the state any more, from which this move begins."""

    def __init__(self, detail: str) -> None:
        super().__init__("lease_move_refused", detail)


class LeaseQuerySet(models.QuerySet["Lease"]):
    """Leases by their state and their host."""

    def open(self) -> "LeaseQuerySet":
        """Waiting, held or ending: a run has one such lease at most."""
        return self.exclude(state=LeaseState.ENDED)

    def on_host(self, host: str) -> "LeaseQuerySet":
        """The leases on slots of one host."""
        return self.filter(slot__host=host)

    def valid(self, at: datetime | Expression) -> "LeaseQuerySet":
        """Held, and not expired at the database's time `at`."""
        return self.filter(Q(is_pinned=True) | Q(expires_at__gt=at), state=LeaseState.HELD)

    def expired(self, at: datetime | Expression) -> "LeaseQuerySet":
        """Held, and expired at the database's time `at`."""
        return self.filter(state=LeaseState.HELD, is_pinned=False, expires_at__lte=at)


class Lease(models.Model):
    """A run's exclusive, expiring right to a slot, or its position in the queue for one."""

    slot = models.ForeignKey(Slot, models.PROTECT, null=True, blank=True, related_name="leases")
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="leases")
    state = models.CharField(max_length=16, choices=LeaseState.choices, default=LeaseState.WAITING)
    priority = models.SmallIntegerField(default=0)
    ttl_seconds = models.PositiveIntegerField()
    fence = models.PositiveBigIntegerField(null=True, blank=True)
    # Does not expire: set while the run is approved, merging or deploying.
    is_pinned = models.BooleanField(default=False)
    # The run may have left something on the slot: it is cleaned before the lease ends.
    needs_cleanup = models.BooleanField(default=False)
    requested_at = models.DateTimeField()
    # When a waiting reservation leaves the queue unless its client renews the request; or null.
    waits_until = models.DateTimeField(null=True, blank=True)
    granted_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    ending_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # The code or the sentence with which it ended.
    end_reason = MaskedTextField(blank=True)
    # Failed attempts to clean the slot; after too many it is quarantined.
    cleanup_attempts = models.PositiveSmallIntegerField(default=0)
    # Consecutive restarts of a backend that died, and when the delay after the last one ends.
    restarts = models.PositiveSmallIntegerField(default=0)
    restart_at = models.DateTimeField(null=True, blank=True)
    # How often each process was restarted during this lease, by its name.
    process_restarts = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), blank=True
    )
    # The first failed probe in a row of a backend whose process runs.
    unhealthy_at = models.DateTimeField(null=True, blank=True)

    objects = LeaseQuerySet.as_manager()

    class Meta:
        ordering = ["-priority", "requested_at", "id"]
        indexes = [
            models.Index(
                fields=["-priority", "requested_at", "id"],
                condition=Q(state=LeaseState.WAITING),
                name="slots_waiting_queue",
            ),
            models.Index(
                fields=["waits_until"],
                condition=Q(state=LeaseState.WAITING, waits_until__isnull=False),
                name="slots_waiting_timeouts",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["slot"],
                condition=Q(state__in=STATES_WITH_SLOT),
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
                condition=~Q(state__in=STATES_WITH_SLOT)
                | Q(
                    slot__isnull=False,
                    fence__isnull=False,
                    granted_at__isnull=False,
                    expires_at__isnull=False,
                ),
                name="slots_lease_on_a_slot_is_complete",
            ),
            models.CheckConstraint(
                condition=~Q(state=LeaseState.WAITING) | Q(slot__isnull=True, fence__isnull=True),
                name="slots_waiting_lease_has_no_slot",
            ),
        ]

    def __str__(self) -> str:
        return f"lease {self.pk} ({self.state})"

    # WAITING -> HELD, and HELD -> ENDED of a reservation, are SQL: see runs/leasing/sql.py.

    def begin_ending(self, *, reason: str) -> None:
        """Fence the lease: from now on no write that names it is accepted.

        It is then ENDING if its slot must be cleaned, else ENDED. Raises LeaseMoveRefused.
        """
        fields = {"ending_at": ClockTimestamp(), "end_reason": reason, "is_pinned": False}
        if self.state == LeaseState.HELD and self.needs_cleanup:
            self._move(LeaseState.ENDING, **fields)
        else:
            self._move(LeaseState.ENDED, ended_at=ClockTimestamp(), **fields)

    def finish_ending(self) -> None:
        """End a lease whose slot has been cleaned. Raises LeaseMoveRefused."""
        self._move(LeaseState.ENDED, ended_at=ClockTimestamp())

    def _move(self, to: LeaseState, **fields: Any) -> None:
        if to not in LEASE_MOVES.get(self.state, ()):
            raise LeaseMoveRefused(f"{self} cannot become {to}.")
        if Lease.objects.filter(pk=self.pk, state=self.state).update(state=to, **fields) != 1:
            raise LeaseMoveRefused(f"{self} is no longer {self.state}.")
        self.refresh_from_db()

    def extend(self, length: timedelta | None = None) -> None:
        """Let it expire `length` (None: its whole TTL) from now; never shortens the lease.

        Raises LeaseMoveRefused if it is not valid any more.
        """
        length_of_time: timedelta | Combinable = (
            F("ttl_seconds") * timedelta(seconds=1) if length is None else length
        )
        # Never sooner: a preview that a person keeps must not lose that time to a new commit.
        self._update_valid(expires_at=Greatest("expires_at", ClockTimestamp() + length_of_time))

    def pin(self) -> None:
        """Keep it from expiring. Raises LeaseMoveRefused if it is not valid any more."""
        self._update_valid(is_pinned=True)

    def unpin(self) -> None:
        """Let it expire at the time that it has; nothing if it is not held any more."""
        Lease.objects.filter(pk=self.pk, state=LeaseState.HELD).update(is_pinned=False)
        self.refresh_from_db()

    def _update_valid(self, **fields: Any) -> None:
        rows = Lease.objects.valid(ClockTimestamp()).filter(pk=self.pk)
        if rows.update(**fields) != 1:
            raise LeaseMoveRefused(f"{self} is not valid any more.")
        self.refresh_from_db()

    def count_cleanup(self) -> int:
        """Count a failed attempt to clean the slot; returns how many there were."""
        rows = Lease.objects.filter(pk=self.pk)
        # Added up by the database: the worker and an API request may clean at the same time.
        rows.update(cleanup_attempts=F("cleanup_attempts") + 1)
        self.refresh_from_db(fields=["cleanup_attempts"])
        return self.cleanup_attempts

    # The supervision of the slot's backend. `restarts` is the version of these columns: what was
    # decided about an earlier restart changes nothing.

    def _held_since_restart(self) -> LeaseQuerySet:
        return Lease.objects.filter(pk=self.pk, state=LeaseState.HELD, restarts=self.restarts)

    def mark_unhealthy(self, at: datetime) -> datetime:
        """Store the first failed probe in a row; returns when that was."""
        self._held_since_restart().filter(unhealthy_at=None).update(unhealthy_at=at)
        return self.unhealthy_at or at

    def excuse_silence(self, *, seconds: float) -> None:
        """Have failed probes count from `seconds` from now: the processes are started by hand."""
        until = ClockTimestamp() + timedelta(seconds=seconds)
        self._held_since_restart().update(unhealthy_at=until)

    def mark_healthy(self, *, forget_restarts: bool) -> None:
        """Forget the failed probes, and with `forget_restarts` the restarts too."""
        fields: dict[str, Any] = {"unhealthy_at": None} if self.unhealthy_at is not None else {}
        if forget_restarts:
            fields |= {"restarts": 0, "restart_at": None}
        if fields:
            self._held_since_restart().update(**fields)

    def count_restart(self, *, next_at: datetime) -> bool:
        """Count a restart that begins now, the next one not before `next_at`.

        Returns False, and changes nothing, if another process counted it first.
        """
        rows = self._held_since_restart().filter(restart_at=self.restart_at)
        count = self.restarts + 1
        if not rows.update(restarts=count, restart_at=next_at, unhealthy_at=None):
            return False
        self.restarts = count
        return True

    def count_processes(self, names: Iterable[str]) -> None:
        """Count the processes that the latest restart starts again."""
        totals = self.process_restarts
        totals = {**totals, **{name: totals.get(name, 0) + 1 for name in names}}
        self._held_since_restart().update(process_restarts=totals)
        self.process_restarts = totals

    def finish_restart(self, *, delay: timedelta) -> None:
        """Allow the next restart `delay` from now. A probe that failed meanwhile says nothing."""
        self._held_since_restart().update(restart_at=ClockTimestamp() + delay, unhealthy_at=None)
