"""GET /previews/enter: gives the browser of a person who is logged in a ticket for a preview."""

import re
from typing import cast

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET

from runs.protection import rules
from runs.protection.access import find_preview_host
from runs.protection.visits import make_ticket
from web.errors import error_response
from web.permissions import VIEW, has_ability

NONCE_DIGEST = re.compile("[0-9a-f]{64}")


@require_GET
@login_required
def enter_preview(request: HttpRequest) -> HttpResponse:
    """Send the browser back to the page that it asked for, with a ticket for that preview alone."""
    host = rules.parse_host(request.GET.get("host", ""), settings.DOMAIN)
    nonce_digest = request.GET.get("nonce", "")
    if host is None or not NONCE_DIGEST.fullmatch(nonce_digest):
        return error_response(request, 400, "Open the preview's own link: this one is incomplete.")
    if not has_ability(request, VIEW):
        return error_response(request, 403, "Your account has no role that may look at previews.")
    preview_host = find_preview_host(host, request.GET.get("slot", ""))
    user = cast("User", request.user)  # login_required
    session_key = request.session.session_key or ""
    ticket = make_ticket(host, preview_host.find_run(), user, session_key, nonce_digest)
    address = rules.add_ticket(rules.check_address(request.GET.get("to", "")), ticket)
    return _redirect_with_ticket(request, settings.OROBOROS.preview_origin(host) + address)


def _redirect_with_ticket(request: HttpRequest, url: str) -> HttpResponse:
    # Straight after the log-in a redirect would count as the form's target, which its
    # Content-Security-Policy limits to the control plane.
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        return render(request, "oroboros/preview_entry.html", {"url": url})
    return HttpResponseRedirect(url)
