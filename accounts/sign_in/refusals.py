"""The answer to who may not sign in, and its entry in the audit trail."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.audit.recording import record_request

NOT_CONFIRMED = (
    "The provider did not confirm who you are, or this log-in was used before or took too long. "
    "Start it again; if it fails again, the service's log has the cause."
)


def refuse_sign_in(
    request: HttpRequest, code: str, detail: str, *, account: str = "", status: int = 403
) -> HttpResponse:
    """Record the refusal with its code, and return the page that says why."""
    target = account or "an unknown account"
    record_request(request, "sign_in_failed", actor="anonymous", target=target, detail=code)
    context = {"title": "You are not logged in", "detail": detail, "code": code}
    return render(request, "oroboros/sign_in_refused.html", context, status=status)
