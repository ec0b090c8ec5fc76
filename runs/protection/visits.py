"""Visits of people who are logged in: a ticket that is used once, and the browser it begins."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User

from core.clock import ClockTimestamp
from runs.models import PreviewVisit, Run

TICKET_SECONDS = 60
# After this time the browser gets another ticket, without a question while the person is logged in.
VISIT_HOURS = 12


def hash_secret(secret: str) -> str:
    """Return the hash that is stored of a secret with 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def make_ticket(host: str, run: Run | None, user: User, session_key: str, nonce_digest: str) -> str:
    """Return a new ticket for the browser with that nonce; removes the visits that are over."""
    PreviewVisit.objects.filter(expires_at__lt=ClockTimestamp()).delete()
    ticket = secrets.token_urlsafe(32)
    PreviewVisit.objects.create(
        host=host,
        run=run,
        user=user,
        session_key=session_key,
        session_hash=user.get_session_auth_hash(),
        ticket_digest=hash_secret(ticket),
        nonce_digest=nonce_digest,
        created_at=ClockTimestamp(),
        expires_at=ClockTimestamp() + timedelta(seconds=TICKET_SECONDS),
    )
    return ticket


def begin_visit(ticket: str, nonce: str, host: str, run: Run | None) -> int | None:
    """Use the ticket and return the visit's id; None unless it is valid for all of these."""
    fields = {"ticket_digest": hash_secret(ticket), "nonce_digest": hash_secret(nonce)}
    tickets = PreviewVisit.objects.filter(**fields, host=host, run=run, begun_at=None)
    end = ClockTimestamp() + timedelta(hours=VISIT_HOURS)
    # The one conditional UPDATE: of two requests with the ticket one begins the visit.
    is_begun = tickets.filter(expires_at__gt=ClockTimestamp()).update(
        begun_at=ClockTimestamp(), expires_at=end
    )
    if not is_begun:
        return None
    return PreviewVisit.objects.values_list("pk", flat=True).get(**fields)
