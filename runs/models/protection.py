"""Who may look at a preview: share links, and the browsers of people who logged in."""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from core.clock import ClockTimestamp
from core.masked_fields import MaskedCharField


class ShareLinkQuerySet(models.QuerySet["ShareLink"]):
    """Share links by whether they open their preview."""

    def valid(self) -> "ShareLinkQuerySet":
        """The links that are neither revoked nor expired."""
        return self.filter(revoked_at=None, expires_at__gt=ClockTimestamp())


class ShareLink(models.Model):
    """A link that shows one run's preview without an account. Only its secret's hash is stored."""

    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="share_links")
    note = MaskedCharField(max_length=100, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    # Updated once a minute at most.
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=150, blank=True)

    objects = ShareLinkQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("created_at")),
                name="runs_share_link_ends_after_it_starts",
            )
        ]

    def __str__(self) -> str:
        return f"share link {self.pk}"

    def revoke(self, *, by: str) -> bool:
        """Revoke the link; False if it was already revoked."""
        links = ShareLink.objects.filter(pk=self.pk, revoked_at=None)
        return links.update(revoked_at=ClockTimestamp(), revoked_by=by) == 1

    def record_use(self) -> None:
        """Record when the link was opened, at most once a minute."""
        recent = Q(last_used_at__gt=ClockTimestamp() - timedelta(minutes=1))
        ShareLink.objects.filter(pk=self.pk).exclude(recent).update(last_used_at=ClockTimestamp())


class PreviewVisit(models.Model):
    """A person's browser at one preview: a ticket, which begins it once, then the visit itself.

    A ticket is valid for its host name, run and browser only, which has the secret of `nonce` in a
    cookie. `expires_at` is first the ticket's end, then that of the visit.
    """

    host = models.CharField(max_length=255)
    run = models.ForeignKey("runs.Run", models.CASCADE, null=True, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    # The login that the visit belongs to, and the hash that changes with the account's password.
    session_key = models.CharField(max_length=40)
    session_hash = models.CharField(max_length=64)
    ticket_digest = models.CharField(max_length=64, unique=True, editable=False)
    nonce_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    begun_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"visit {self.pk} of {self.host}"
