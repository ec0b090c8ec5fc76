"""Who must have a second factor is led to set one up before anything else."""

from collections.abc import Callable
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect

from accounts.sign_in.rules import needs_factor
from accounts.sign_in.sessions import end_sessions
from web.errors import error_response
from web.permissions import OPERATE, has_ability

FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
# The pages that set one up, and the way out.
SET_UP_VIEWS = (
    "account-overview",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_list_webauthn",
    "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "account_reauthenticate",
    "account_login",
    "admin:logout",
)
DETAIL = "Your account needs a second factor: set one up on the page Your account."


def has_factor(user: User) -> bool:
    """Return whether the account has an authenticator app or a key; recovery codes are none."""
    return is_mfa_enabled(user, types=list(FACTORS))


def is_factor_missing(request: HttpRequest) -> bool:
    """Return whether the person who is logged in must set up a second factor first."""
    rule = settings.SIGN_IN.second_factor
    user = request.user
    if rule == "optional" or not isinstance(user, User):
        return False
    is_operator = has_ability(request, OPERATE)
    return needs_factor(rule, is_operator=is_operator) and not has_factor(user)


def require_second_factor(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: send who lacks a required second factor to its page; the API refuses (403)."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return get_response(request)

    middleware.process_view = _check_factor  # type: ignore[attr-defined]
    return middleware


def _check_factor(request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
    match = request.resolver_match
    if match is None or match.view_name in SET_UP_VIEWS or not is_factor_missing(request):
        return None
    if request.method == "GET" and request.accepts("text/html"):
        return redirect("account-overview")
    return error_response(request, 403, DETAIL)


def end_sessions_without_factor(
    sender: Any, request: HttpRequest, user: User, **given: Any
) -> None:
    """Receive allauth's signal: a session that began without the new factor must show it."""
    end_sessions(user, keep=request.session.session_key or "")


def reset_factors(user: User) -> int:
    """Remove all second factors and recovery codes of an account; returns their number."""
    return Authenticator.objects.filter(user=user).delete()[0]
