"""The forms of second factors and of confirmations: throttled as the log-in is."""

import time
from contextlib import suppress
from typing import Any

from allauth.account.forms import ReauthenticateForm as PasswordForm
from allauth.core import context
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa import app_settings
from allauth.mfa.base import forms as allauth_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn.forms import AuthenticateWebAuthnForm, ReauthenticateWebAuthnForm
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from unfold.forms import AdminOwnPasswordChangeForm

from accounts.audit.recording import record_request
from accounts.login_throttle import count_attempt
from accounts.models import LoginAttempt
from accounts.peers import get_client_address

USED = "This code was used before. Wait for the next one."


class ThrottledMixin:
    """Counts an attempt before it is checked, and records one that fails."""

    user: Any
    what = "second factor"

    def begin_attempt(self) -> LoginAttempt:
        """Count an attempt. Raises ValidationError `too_many_logins`."""
        try:
            return count_attempt(self.user.username, get_client_address(context.request.META))
        except ValidationError as error:
            self.record_failure(error)
            raise

    def record_failure(self, error: ValidationError) -> None:
        detail = f"{self.what}: {error.code}"
        record_request(
            context.request,
            "sign_in_failed",
            actor="anonymous",
            target=self.user.username,
            detail=detail,
        )


class ThrottledCodeMixin(ThrottledMixin):
    """A code of an authenticator app, or a recovery code. Each counts once."""

    authenticator: Authenticator

    def clean_code(self) -> str:
        self.begin_attempt()
        try:
            code: str = super().clean_code()  # type: ignore[misc]
            if self.authenticator.type == Authenticator.Type.TOTP:
                spend_code(self.authenticator, code)
        except ValidationError as error:
            self.record_failure(error)
            raise
        return code


def spend_code(authenticator: Authenticator, code: str) -> None:
    """Raise ValidationError `code_used` if this code, or a later one, was used before.

    allauth remembers it in the cache, which each process has its own of. Source: RFC 6238, 5.2.
    """
    now = int(time.time()) // app_settings.TOTP_PERIOD
    tolerance = app_settings.TOTP_TOLERANCE
    with transaction.atomic():
        row = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
        secret = decrypt(row.data["secret"])
        steps = [
            step
            for step in range(now - tolerance, now + tolerance + 1)
            if compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, step)))
        ]
        if not steps or steps[-1] <= row.data.get("last_step", 0):
            raise ValidationError(USED, code="code_used")
        row.data["last_step"] = steps[-1]
        row.save(update_fields=["data"])


def spend_first_code(
    sender: Any, request: HttpRequest, authenticator: Authenticator, **given: Any
) -> None:
    """Receive allauth's signal: the code that set the app up counts for no sign-in."""
    if authenticator.type == Authenticator.Type.TOTP:
        with suppress(ValidationError):  # it has just ended
            spend_code(authenticator, request.POST.get("code", ""))


class FactorForm(ThrottledCodeMixin, allauth_forms.AuthenticateForm):
    """The second factor at the sign-in. The attempts are deleted once it is complete."""


class FactorAgainForm(ThrottledCodeMixin, allauth_forms.ReauthenticateForm):
    """The second factor as a confirmation."""

    what = "confirmation by second factor"

    def save(self) -> None:
        super().save()
        LoginAttempt.objects.filter(account=self.user.username).delete()


class ThrottledKeyMixin(ThrottledMixin):
    """A passkey or a security key."""

    def clean_credential(self) -> Authenticator:
        attempt = self.begin_attempt()
        try:
            authenticator: Authenticator = self._read_credential()
        except ValidationError as error:
            self.record_failure(error)
            raise
        attempt.delete()
        return authenticator

    def _read_credential(self) -> Authenticator:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValidationError("This is no passkey's answer.", code="key_malformed") from error


class KeyForm(ThrottledKeyMixin, AuthenticateWebAuthnForm):
    """The key at the sign-in."""


class KeyAgainForm(ThrottledKeyMixin, ReauthenticateWebAuthnForm):
    """The key as a confirmation."""

    what = "confirmation by second factor"


class ReauthenticateForm(ThrottledMixin, PasswordForm):
    """The password as a confirmation."""

    what = "confirmation by password"

    def clean_password(self) -> str:
        attempt = self.begin_attempt()
        try:
            password: str = super().clean_password()
        except ValidationError as error:
            self.record_failure(error)
            raise
        attempt.delete()
        return password


class OwnPasswordForm(ThrottledMixin, AdminOwnPasswordChangeForm):
    """The old password and a new one."""

    what = "change of the password"

    def clean_old_password(self) -> str:
        attempt = self.begin_attempt()
        try:
            password: str = super().clean_old_password()
        except ValidationError as error:
            self.record_failure(error)
            raise
        attempt.delete()
        return password
