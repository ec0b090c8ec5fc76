"""The pages of the sign-in, and the page Your account."""

import logging
from typing import Any, cast

from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.account.utils import perform_login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.internal.statekit import get_states
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from requests import RequestException

from accounts.login_throttle import LoginForm, count_attempt
from accounts.peers import get_client_address
from accounts.sign_in.forms import OwnPasswordForm
from accounts.sign_in.provider import CheckedAdapter
from accounts.sign_in.provider_accounts import is_connected
from accounts.sign_in.refusals import NOT_CONFIRMED, refuse_sign_in
from accounts.sign_in.second_factor import has_factor, is_factor_missing
from accounts.sign_in.sessions import end_session, end_sessions, list_sessions

log = logging.getLogger(__name__)
# What a provider's documents and answers raise that are missing, or are none.
MALFORMED = (RequestException, OAuth2Error, KeyError, TypeError, ValueError, AttributeError)
STATE_SECONDS = 600  # for which the provider may take
PAGES = "/admin/account/"


def add_page_context(request: HttpRequest) -> dict[str, Any]:
    """Context processor: what the admin's pages need, for the pages that allauth renders."""
    # An error may come before the middleware that reads the session.
    if not request.path_info.startswith(PAGES) or not hasattr(request, "user"):
        return {}
    return {**admin.site.each_context(request), "title": "Your account"}


def find_next(request: HttpRequest) -> str:
    """Return the page to come back to, on this host; "" without one."""
    url = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
    is_ours = url_has_allowed_host_and_scheme(
        url, {request.get_host()}, require_https=request.is_secure()
    )
    return url if is_ours else ""


@method_decorator(never_cache, name="dispatch")
class SignInView(LoginView):
    """The admin's log-in: the password, or the way to the provider."""

    authentication_form = LoginForm
    template_name = "admin/login.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated and admin.site.has_permission(request):
            return redirect("admin:index")
        return super().get(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        record_authentication(self.request, user, method="password")
        return perform_login(self.request, user, redirect_url=self.get_success_url())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            **admin.site.each_context(self.request),
            "title": "Log in",
            "subtitle": None,
            "app_path": self.request.get_full_path(),
            "username": self.request.user.get_username(),
            "sign_in": settings.SIGN_IN,
            "next_url": find_next(self.request),
        }


class ChangePasswordView(PasswordChangeView):
    """The admin's page that changes the own password, throttled as the log-in is."""

    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not has_password(cast("User", request.user)):
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        UserSession.objects.create_from_request(self.request)  # the session has another key
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), **admin.site.each_context(self.request)}


def has_password(user: User) -> bool:
    """Return whether the account has a password that counts for something here."""
    return settings.SIGN_IN.has_passwords and user.has_usable_password()


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider; with `connect` to connect it with the own account."""
    if settings.SIGN_IN.provider is None:
        raise Http404
    process = AuthProcess.LOGIN
    if "connect" in request.POST and request.user.is_authenticated:
        raise_if_reauthentication_required(request, app="allauth.socialaccount")
        process = AuthProcess.CONNECT
    if not request.user.is_authenticated:
        request.session.set_expiry(STATE_SECONDS)
    try:
        provider = get_adapter().get_provider(request, settings.SIGN_IN.provider.key)
        answer = provider.redirect(request, process, next_url=find_next(request))
    except ImmediateHttpResponse as error:
        return error.response
    except MALFORMED as error:
        log.warning("the provider cannot be used: %.300s", error)
        detail = "The provider cannot be used now. The service's log has the cause."
        return refuse_sign_in(request, "provider_unreachable", detail, status=503)
    # A redirect would be the form's target, which the Content-Security-Policy limits to us.
    return render(request, "oroboros/to_provider.html", {"url": answer["Location"]})


@require_GET
@never_cache
def finish(request: HttpRequest) -> HttpResponse:
    """Receive the browser from the provider."""
    if settings.SIGN_IN.provider is None:
        raise Http404
    if request.GET.get("state", "") not in get_states(request):
        # Any page can have browsers ask for this address, so it must not close their log-ins.
        return refuse_sign_in(request, "provider_unknown", NOT_CONFIRMED)
    try:
        attempt = count_attempt("", get_client_address(request.META))
    except ValidationError as error:
        return refuse_sign_in(request, str(error.code), error.messages[0], status=429)
    try:
        adapter = CheckedAdapter(request, settings.SIGN_IN.provider.key)
        response: HttpResponse = OAuth2CallbackView.adapter_view(adapter)(request)
    except IntegrityError:  # the same person's other tab was first
        detail = "Your account was just created: log in again."
        return refuse_sign_in(request, "account_exists", detail, status=409)
    except MALFORMED as error:
        log.warning("the provider's answers cannot be read", exc_info=error)
        return refuse_sign_in(request, "provider_unreachable", NOT_CONFIRMED, status=503)
    if response.status_code == 302:
        attempt.delete()
    return response


def show_account(request: HttpRequest) -> HttpResponse:
    """Show the person's second factors, sessions and connection, and change the last two."""
    if request.method == "POST":
        return _end_sessions(request)
    rows = Authenticator.objects.filter(user=request.user)
    user = cast("User", request.user)
    provider = settings.SIGN_IN.provider
    context = {
        "title": "Your account",
        "has_app": rows.filter(type=Authenticator.Type.TOTP).exists(),
        "keys": rows.filter(type=Authenticator.Type.WEBAUTHN).count(),
        "recovery": rows.filter(type=Authenticator.Type.RECOVERY_CODES).first(),
        "has_factor": has_factor(user),
        "is_factor_missing": is_factor_missing(request),
        "sessions": list_sessions().filter(user=request.user),
        "current": request.session.session_key,
        "has_password": has_password(user),
        "provider": provider,
        "is_connected": is_connected(user),
        "can_connect": not request.user.is_superuser,
    }
    return render(request, "oroboros/account.html", context)


def _end_sessions(request: HttpRequest) -> HttpResponse:
    own = list_sessions().filter(user=request.user)
    key = request.POST.get("session", "")
    if key == "others":
        count = end_sessions(cast("User", request.user), keep=request.session.session_key or "")
        messages.success(request, f"You ended {count} other sessions.")
    elif key.isdecimal() and (session := own.filter(pk=key).first()) is not None:
        end_session(session)
        messages.success(request, "You ended the session.")
    return redirect("account-overview")
