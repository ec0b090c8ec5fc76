"""Tokens: how programs are known to the API. Logins that failed."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from core.clock import ClockTimestamp
from web.permissions import ABILITIES


class ApiToken(models.Model):
    """A secret that was shown once; only its hash is here."""

    name = models.CharField(max_length=100, unique=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    abilities = ArrayField(models.CharField(max_length=16))
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    # To the minute: a token in use is not a row that is written all the time.
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=150, blank=True)

    class Meta:
        verbose_name = "API token"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(abilities__contained_by=list(ABILITIES)),
                name="accounts_abilities_are_known",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def revoke(self, *, by: str) -> bool:
        """End the token; False if it was over already."""
        open_token = ApiToken.objects.filter(pk=self.pk, revoked_at=None)
        return open_token.update(revoked_at=ClockTimestamp(), revoked_by=by) == 1


class LoginAttempt(models.Model):
    """A login that failed, or whose password is looked at just now."""

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
