"""The login throttle: failed logins are counted by account and by address.

An attempt is counted before its password is checked, so parallel attempts cannot exceed the limit.
A throttled attempt is not counted, so repeating it does not extend the wait. Why this is not a
library: docs/decisions/0010.
"""

import logging
import math
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, User
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from unfold.forms import AuthenticationForm

from accounts.audit.recording import record_request
from accounts.models import LoginAttempt
from accounts.peers import get_client_address
from accounts.sign_in.provider_accounts import is_connected
from core.clock import ClockTimestamp, get_database_time

log = logging.getLogger(__name__)

WINDOW = timedelta(minutes=15)
# Failed logins within WINDOW. A whole team may share one address.
LIMITS = {"account": 5, "address": 20}
CONNECTED = "This account is connected: log in through the provider."
INCORRECT = "The username or the password is wrong. Both distinguish capital letters."
PASSWORDS_OFF = "Passwords are switched off here: log in through the provider."


class LoginForm(AuthenticationForm):
    """The admin's login form, throttled. The error message says when to try again.

    The attempts are deleted once the sign-in is complete: a second factor may follow.
    """

    # Django's own speaks of staff accounts, which people here know as those with a role.
    error_messages = {"invalid_login": INCORRECT, "inactive": INCORRECT}

    def clean(self) -> dict[str, Any]:
        account = self.cleaned_data.get("username")
        if account and self.cleaned_data.get("password"):
            try:
                if not settings.SIGN_IN.has_passwords:
                    raise ValidationError(PASSWORDS_OFF, code="passwords_off")
                count_attempt(account, get_client_address(self.request.META))
                super().clean()  # raises for a wrong password
            except ValidationError as error:
                self._record_failure(account, str(error.code or "invalid_login"))
                raise
        return self.cleaned_data

    def _record_failure(self, account: str, detail: str) -> None:
        """Record the login. What names no account is not: it may be a password."""
        is_known = User.objects.filter(username=account).exists()
        target = account if is_known else "an unknown account"
        record_request(
            self.request, "sign_in_failed", actor="anonymous", target=target, detail=detail
        )

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        """Refuse an account without a role, and one that follows the provider.

        Only who knows its password is told so. Someone whom the provider has removed would else
        go on with the password of before.
        """
        if user.is_active and not getattr(user, "is_staff", False):
            detail = "This account has no role. An administrator gives it one: Users, its name."
            raise ValidationError(detail, code="no_role")
        if isinstance(user, User) and not user.is_superuser and is_connected(user):
            raise ValidationError(CONNECTED, code="connected")
        super().confirm_login_allowed(user)


def count_attempt(account: str, address: str) -> LoginAttempt:
    """Record an attempt to log in, with `account` "" where it names none.

    Raises ValidationError `too_many_logins` if it is throttled.
    """
    # Here, so that the table needs no periodic task.
    LoginAttempt.objects.filter(at__lte=ClockTimestamp() - WINDOW).delete()
    attempt = LoginAttempt.objects.create(account=account, address=address, at=ClockTimestamp())
    limits = [(field, limit) for field, limit in LIMITS.items() if getattr(attempt, field)]
    times = [_get_blocked_until(attempt, field, limit) for field, limit in limits]
    blocked_until = max((time for time in times if time is not None), default=None)
    if blocked_until is not None:
        attempt.delete()
        log.warning("logins as %r from %s are throttled", account, address)
        raise ValidationError(_format_refusal(blocked_until), code="too_many_logins")
    return attempt


def _get_blocked_until(attempt: LoginAttempt, field: str, limit: int) -> datetime | None:
    """Return when the account or the address may try again; None if it may try now."""
    others = LoginAttempt.objects.filter(**{field: getattr(attempt, field)}).exclude(pk=attempt.pk)
    times = others.order_by("-at").values_list("at", flat=True)[:limit]
    return times[limit - 1] + WINDOW if len(times) == limit else None


def _format_refusal(until: datetime) -> str:
    minutes = math.ceil((until - get_database_time()) / timedelta(minutes=1))
    at = timezone.localtime(until).strftime("%H:%M %Z")
    return (
        f"Too many logins failed. Try again in {minutes} min, at {at}, or have an operator run "
        "manage.py unlock_login on the host."
    )


def clear_attempts(account: str) -> None:
    """Delete the attempts on an account after a successful login."""
    LoginAttempt.objects.filter(account=account).delete()


def unlock_login(name: str) -> int:
    """Delete the failed logins of an account or an address; returns their number."""
    return LoginAttempt.objects.filter(Q(account=name) | Q(address=name)).delete()[0]
