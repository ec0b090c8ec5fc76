"""What allauth asks: who may sign in, as whom, and what its flows may do."""

import base64
import hashlib
import logging
import time
from typing import Any, cast

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.audit.recording import record_request
from accounts.login_throttle import clear_attempts
from accounts.peers import get_client_address
from accounts.sign_in.provider_accounts import admit_person, apply_role
from accounts.sign_in.refusals import NOT_CONFIRMED, refuse_sign_in
from accounts.sign_in.second_factor import has_factor
from accounts.sign_in.sessions import limit_session
from host.errors import Refused

log = logging.getLogger(__name__)
RECENT_SECONDS = 300  # for which a sign-in counts as a confirmation
UNREADABLE = (
    "This factor cannot be read, since SECRET_KEY was changed. Have an operator reset it: "
    "manage.py reset_sign_in."
)


class AccountAdapter(DefaultAccountAdapter):
    """Signing in. There is no sign-up, no mail, and no redirect to another host."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str) -> bool:
        request = context.request
        return url_has_allowed_host_and_scheme(
            url, {request.get_host()}, require_https=request.is_secure()
        )

    def get_client_ip(self, request: HttpRequest) -> str:
        # The network of an IPv6 address without its length, which the column would refuse.
        return get_client_address(request.META).partition("/")[0]

    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Begin the session, once all that the account needs was shown."""
        methods = [record["method"] for record in get_authentication_records(request, user)]
        super().login(request, user)
        provider = settings.SIGN_IN.provider
        request.session.set_expiry(None)
        if "socialaccount" in methods and provider is not None:
            limit_session(request, provider.session_hours)
        name = user.get_username()
        clear_attempts(name)
        record_request(request, "sign_in", actor=name, target=name, detail=" ".join(methods))

    def respond_user_inactive(self, request: HttpRequest, user: AbstractBaseUser) -> HttpResponse:
        detail = "This account is switched off. An administrator switches it on: Users, its name."
        return refuse_sign_in(request, "inactive", detail, account=user.get_username())

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Return whether the person must confirm who they are: not just after the sign-in.

        An account that has nothing to confirm it by signs in again.
        """
        request = context.request
        records = get_authentication_records(request, request.user)
        if any(time.time() - record["at"] < RECENT_SECONDS for record in records):
            return False
        if not self.get_reauthentication_methods(request.user):
            detail = "This needs a log-in of the last five minutes: log out, and log in again."
            name = request.user.get_username()
            raise ImmediateHttpResponse(
                refuse_sign_in(request, "old_sign_in", detail, account=name)
            )
        return True

    def get_reauthentication_methods(
        self, user: AbstractBaseUser | AnonymousUser
    ) -> list[dict[str, Any]]:
        """Return how the account confirms itself: by its second factor where it has one."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if isinstance(user, User) and has_factor(user):
            return [one for one in methods if one["id"] != "reauthenticate"]
        return methods

    def add_message(
        self, request: HttpRequest, level: int, message_template: Any = None, *args: Any, **kw: Any
    ) -> None:
        if message_template != "account/messages/logged_in.txt":
            super().add_message(request, level, message_template, *args, **kw)


class ProviderAccountAdapter(DefaultSocialAccountAdapter):
    """Signing in through the provider of the settings."""

    def list_apps(
        self, request: HttpRequest, provider: Any = None, client_id: Any = None
    ) -> list[SocialApp]:
        """Return the one of the settings. Rows of the database, which allauth reads, are none."""
        ours = settings.SIGN_IN.provider
        if ours is None or provider not in (None, ours.key, "openid_connect"):
            return []
        try:
            secret = ours.read_secret()
        except Refused as refused:
            raise ImmediateHttpResponse(
                refuse_sign_in(request, refused.code, f"{refused.detail}", status=503)
            ) from refused
        app = SocialApp(
            provider="openid_connect",
            provider_id=ours.key,
            name=ours.name,
            client_id=ours.client_id,
            secret=secret,
            settings={"server_url": ours.discovery_url, "scope": list(ours.scopes)},
        )
        return [app]

    def authenticate_by_email(self, sociallogin: SocialLogin) -> None:
        """Return no account: an address at the provider proves none here."""

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        try:
            admit_person(request, sociallogin)
        except Refused as refused:
            account = sociallogin.user.get_username() if sociallogin.is_existing else ""
            raise ImmediateHttpResponse(
                refuse_sign_in(request, refused.code, refused.detail, account=account)
            ) from refused
        # Without them allauth asks a new person for another address if one is taken.
        sociallogin.email_addresses = []

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return True  # pre_social_login has decided

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """Create the account of a person who signs in for the first time."""
        user, claims = cast("User", sociallogin.user), sociallogin.account.extra_data
        user.username, user.email = claims["name"], claims["email"]
        user.set_unusable_password()
        with transaction.atomic():
            sociallogin.save(request)
            apply_role(request, user, claims["groups"])
        record_request(
            request, "user_edited", actor=user.username, target=user.username, detail="created"
        )
        return user

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> None:
        """Answer instead of allauth, which has a page for it that says less."""
        log.warning("the provider's answer is refused (%s): %.300s", error, exception)
        raise ImmediateHttpResponse(refuse_sign_in(request, f"provider_{error}", NOT_CONFIRMED))

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: Any) -> str:
        return reverse("account-overview")


class FactorAdapter(DefaultMFAAdapter):
    """Second factors. Their secrets are encrypted in the database."""

    def encrypt(self, text: str) -> str:
        return _make_cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return _make_cipher().decrypt(encrypted_text).decode()
        except InvalidToken as error:
            raise ValidationError(UNREADABLE, code="factor_unreadable") from error


def _make_cipher() -> Fernet:
    key = hashlib.sha256(f"oroboros.factors {settings.SECRET_KEY}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
