"""Logins that fail are counted, by account and by address; after too many both must wait.

An attempt counts before its password is looked at, so that many at once are no way around it. One
that is refused does not count: who keeps trying keeps nobody out for longer. Why this is ours and
not a library's: docs/decisions/0010.
"""

import ipaddress
import logging
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from unfold.forms import AuthenticationForm

from accounts.models import LoginAttempt
from core.clock import ClockTimestamp, database_time

log = logging.getLogger(__name__)

WINDOW = timedelta(minutes=15)
# A whole team may be behind one address.
LIMITS = {"account": 5, "address": 20}


class LoginForm(AuthenticationForm):
    """The admin's login; who failed too often is told when to try again."""

    def clean(self) -> dict[str, Any]:
        account = self.cleaned_data.get("username")
        if account and self.cleaned_data.get("password"):
            attempt = begin(account, visitor(self.request.META))
            super().clean()  # raises for a wrong password, and the attempt stays
            succeed(attempt)
        return self.cleaned_data


def begin(account: str, address: str) -> LoginAttempt:
    """Count an attempt to log in. Raises ValidationError `too_many_logins` while one must wait."""
    LoginAttempt.objects.filter(at__lte=ClockTimestamp() - WINDOW).delete()
    attempt = LoginAttempt.objects.create(account=account, address=address, at=ClockTimestamp())
    until = [_held_back_until(attempt, field, limit) for field, limit in LIMITS.items()]
    held_back = [one for one in until if one is not None]
    if held_back:
        attempt.delete()
        log.warning("logins as %r from %s are held back", account, address)
        raise ValidationError(_words(max(held_back)), code="too_many_logins")
    return attempt


def _held_back_until(attempt: LoginAttempt, field: str, limit: int) -> datetime | None:
    """Return when the account or the address may try again; None if it may now."""
    others = LoginAttempt.objects.filter(**{field: getattr(attempt, field)}).exclude(pk=attempt.pk)
    times = others.order_by("-at").values_list("at", flat=True)[:limit]
    return times[limit - 1] + WINDOW if len(times) == limit else None


def _words(until: datetime) -> str:
    minutes = math.ceil((until - database_time()) / timedelta(minutes=1))
    at = timezone.localtime(until).strftime("%H:%M %Z")
    return (
        f"Too many logins failed. Try again in {minutes} min, at {at}, or have an operator lift it "
        "on the host: manage.py unlock_login"
    )


def succeed(attempt: LoginAttempt) -> None:
    """Forget the attempts on an account that its owner logged in to."""
    LoginAttempt.objects.filter(account=attempt.account).delete()


def unlock(name: str) -> int:
    """Let an account, or whoever comes from an address, try again at once; returns what it had."""
    return LoginAttempt.objects.filter(Q(account=name) | Q(address=name)).delete()[0]


def visitor(meta: Mapping[str, Any]) -> str:
    """Return the address that asks: the last that is not this host's, as the proxies here say.

    For IPv6 it is the network of 64 bits, of which one visitor has every address.
    """
    said = [*meta.get("HTTP_X_FORWARDED_FOR", "").split(","), meta["REMOTE_ADDR"]]
    for text in reversed(said):
        try:
            found = ipaddress.ip_address(text.strip())
        except ValueError:
            break  # what is before it is nobody's word
        if found.version == 6:
            return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
        if not found.is_loopback:
            return str(found)
    return "127.0.0.1"
