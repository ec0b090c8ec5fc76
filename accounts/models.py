"""API tokens and failed login attempts."""

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Least

from core.clock import ClockTimestamp
from web.permissions import (
    LONGEST_PATTERN,
    TOKEN_ABILITIES,
    RunLimits,
    get_abilities,
    list_token_abilities,
)

# From then on the pages and the doctor warn of a token's end.
EXPIRY_WARNING = timedelta(days=14)


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Tokens by whether they authenticate."""

    def valid(self) -> "ApiTokenQuerySet":
        """The tokens that are neither revoked nor expired."""
        has_time = Q(expires_at=None) | Q(expires_at__gt=ClockTimestamp())
        return self.filter(has_time, revoked_at=None)

    def with_secret(self, digest: str) -> "ApiTokenQuerySet":
        """The token of the secret with that hash: its own, or the one before for a grace time."""
        is_previous = Q(previous_digest=digest, previous_expires_at__gt=ClockTimestamp())
        return self.filter(Q(digest=digest) | is_previous)

    def expiring(self) -> "ApiTokenQuerySet":
        """The valid tokens that expire within EXPIRY_WARNING, the first to expire first."""
        end = ClockTimestamp() + EXPIRY_WARNING
        return self.valid().filter(expires_at__lte=end).order_by("expires_at")


class ApiToken(models.Model):
    """A token of a program. Only the hash of its secret is stored."""

    name = models.CharField(max_length=100, unique=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    abilities = ArrayField(models.CharField(max_length=16))
    created_by = models.CharField(max_length=150)
    # The account that created it on a page; null for the shell's tokens, and once it is deleted.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    is_owned = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    # After a rotation the secret before it authenticates until `previous_expires_at`.
    rotated_at = models.DateTimeField(null=True, blank=True)
    previous_digest = models.CharField(
        max_length=64, blank=True, default="", db_default="", editable=False
    )
    previous_expires_at = models.DateTimeField(null=True, blank=True)
    # The runs that it may read and change: of branches that match a pattern, and of its own.
    branches = ArrayField(
        models.CharField(max_length=LONGEST_PATTERN),
        default=list,
        db_default=Value([], ArrayField(models.CharField(max_length=LONGEST_PATTERN))),
        blank=True,
    )
    is_own_runs_only = models.BooleanField(default=False, db_default=False)
    # Updated once a minute at most, so that requests with a token rarely write.
    last_used_at = models.DateTimeField(null=True, blank=True)
    # The addresses it was used from: the next new one is an entry of the audit trail.
    known_addresses = ArrayField(
        models.CharField(max_length=50),
        default=list,
        db_default=Value([], ArrayField(models.CharField(max_length=50))),
        blank=True,
        editable=False,
    )
    last_used_address = models.CharField(max_length=50, blank=True, default="", db_default="")
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=150, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = "API token"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(abilities__contained_by=list(TOKEN_ABILITIES)),
                name="accounts_abilities_are_known",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_current_abilities(self) -> frozenset[str]:
        """Return the abilities that the token has now: never more than its owner has now."""
        granted = frozenset(self.abilities)
        if not self.is_owned:
            return granted
        return granted & list_token_abilities(get_abilities(self.owner))

    @property
    def actor(self) -> str:
        """Its name in the audit trail."""
        return f"token {self.name}"

    @property
    def person(self) -> str:
        """The account that acts with it; itself if it has none."""
        return self.owner.username if self.is_owned and self.owner is not None else self.actor

    @property
    def limits(self) -> RunLimits:
        """The runs that the token is limited to."""
        return RunLimits(tuple(self.branches), is_own_only=self.is_own_runs_only)

    def rotate(self, digest: str, *, expires_at: datetime | None, grace: timedelta) -> bool:
        """Replace the secret; False if the token is revoked.

        The present secret authenticates until `grace` is over, or until the token would have
        expired. The one of an earlier rotation ends at once.
        """
        open_tokens = ApiToken.objects.filter(pk=self.pk, revoked_at=None)
        return (
            open_tokens.update(
                previous_digest=F("digest"),
                previous_expires_at=Least(ClockTimestamp() + grace, F("expires_at")),
                digest=digest,
                expires_at=expires_at,
                rotated_at=ClockTimestamp(),
            )
            == 1
        )

    def revoke(self, *, by: str) -> bool:
        """Revoke the token; False if it was already revoked."""
        valid_token = ApiToken.objects.filter(pk=self.pk, revoked_at=None)
        return valid_token.update(revoked_at=ClockTimestamp(), revoked_by=by) == 1


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """The audit trail."""


class AuditEntry(models.Model):
    """Who did what, or was refused it, from where. The database refuses to change or delete it."""

    class Kind(models.TextChoices):
        """What happened."""

        CHANGE = "change"
        REFUSED = "refused"
        SIGN_IN = "sign_in"
        SIGN_IN_FAILED = "sign_in_failed"
        SIGN_OUT = "sign_out"
        TOKEN_MADE = "token_made"  # noqa: S105  no secret
        TOKEN_ROTATED = "token_rotated"  # noqa: S105
        TOKEN_REVOKED = "token_revoked"  # noqa: S105
        TOKEN_NEW_ADDRESS = "token_new_address"  # noqa: S105
        USER_EDITED = "user_edited"
        COMMAND = "command"
        SETTING = "setting_changed"

    at = models.DateTimeField()
    kind = models.CharField(max_length=32, choices=Kind.choices)
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=50)
    agent = models.CharField(max_length=200, blank=True)
    # A run's id, a slot, an account …: a text, which outlives what it names.
    target = models.CharField(max_length=300, blank=True)
    reason = models.TextField(blank=True)
    detail = models.CharField(max_length=300, blank=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["kind", "-id"], name="accounts_audit_by_kind"),
            models.Index(fields=["actor", "-id"], name="accounts_audit_by_actor"),
            models.Index(fields=["target", "-id"], name="accounts_audit_by_target"),
            models.Index(fields=["at"], name="accounts_audit_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.actor}"


class LoginAttempt(models.Model):
    """A failed login, or one whose password is being checked."""

    account = models.CharField(max_length=150)
    address = models.CharField(max_length=50)
    at = models.DateTimeField(db_index=True)

    class Meta:
        indexes = [
            models.Index(fields=["account", "-at"], name="accounts_logins_of_account"),
            models.Index(fields=["address", "-at"], name="accounts_logins_of_address"),
        ]

    def __str__(self) -> str:
        return f"{self.account} from {self.address}"
