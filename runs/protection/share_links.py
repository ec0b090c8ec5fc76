"""Links that show one run's preview to people without an account."""

import secrets
from datetime import timedelta

from django.conf import settings

from core.clock import ClockTimestamp
from host.errors import Refused
from runs import presenters
from runs.models import Run, ShareLink
from runs.protection.rules import SHARE
from runs.protection.visits import hash_secret

HOURS, MAX_HOURS = 24, 30 * 24
MAX_LINKS = 50  # of one run that are valid at once


def create_share_link(
    run: Run, *, by: str, hours: int = HOURS, note: str = ""
) -> tuple[ShareLink, str]:
    """Create a link to the run's preview; returns it with its address, which is not stored.

    Raises Refused `previews_open` where no link is needed, `no_preview` without a slot, and
    `too_many_share_links`.
    """
    url = presenters.get_frontend_url(run)
    if not settings.OROBOROS.is_protected:
        detail = "Previews are open here (PREVIEW_PROTECTION): give the preview's own link away."
        raise Refused("previews_open", detail)
    if url is None:
        raise Refused("no_preview", "The run has no slot, so there is no preview to share.")
    if run.share_links.valid().count() >= MAX_LINKS:
        detail = f"The run has {MAX_LINKS} valid share links: revoke one first."
        raise Refused("too_many_share_links", detail)
    secret = secrets.token_urlsafe(32)
    link = ShareLink.objects.create(
        run=run,
        note=note,
        digest=hash_secret(secret),
        created_by=by,
        created_at=ClockTimestamp(),
        expires_at=ClockTimestamp() + timedelta(hours=hours),
    )
    link.refresh_from_db()
    return link, f"{url}/?{SHARE}={secret}"


def open_link(secret: str, run: Run | None) -> tuple[int, int] | None:
    """Return the id of the run's valid link with that secret, and for how many seconds it is valid.

    None if there is none. Records its use.
    """
    links = ShareLink.objects.valid().annotate(at=ClockTimestamp())
    link = links.filter(digest=hash_secret(secret), run=run).first() if run is not None else None
    if link is None:
        return None
    link.record_use()
    return link.pk, max(1, int((link.expires_at - link.at).total_seconds()))


def find_link_of(run: Run, link_id: int) -> ShareLink:
    """Return the share link of the run with that id. Raises Refused `share_link_unknown` (404)."""
    links = ShareLink.objects.filter(run=run, pk=link_id) if link_id < 2**63 else None
    link = links.first() if links is not None else None
    if link is None:
        raise Refused("share_link_unknown", "The run has no share link of that id.", status=404)
    return link
