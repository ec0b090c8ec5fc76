"""Whether a request has access to the preview that it is for, by its cookie or its header."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.utils.crypto import constant_time_compare

from accounts.session_cookies import find_cookie
from accounts.tokens import find_token, hash_token, record_use
from core.prepared_statements import fetch
from runs.models import Run
from runs.protection import sql
from web.permissions import (
    ABILITIES,
    PREVIEW,
    VIEW,
    RunLimits,
    list_group_abilities,
    list_token_abilities,
)

# Only over https do browsers keep a cookie with this prefix from other hosts' pages.
PREFIX = "__Host-" if settings.HTTPS else ""
VISIT_COOKIE = f"{PREFIX}oroboros_preview"
SIGNER = signing.Signer(salt="oroboros.preview")
BIGGEST_ID = 2**63


@dataclass(frozen=True)
class Place:
    """A preview's host name, and the number of the slot that has it now; None without one."""

    host: str
    slot: int | None = None

    def fetch(self, statement: str, **values: Any) -> tuple | None:
        """Return the first row of a statement about the run that holds the slot now."""
        values |= {"host_name": settings.HOST_NAME, "slot": self.slot, "host": self.host}
        [rows] = fetch(statement, **values)
        return rows[0] if rows else None

    def find_run(self) -> Run | None:
        """Return the run that holds the slot now."""
        row = self.fetch(sql.FIND_RUN)
        return Run.objects.get(pk=row[0]) if row is not None else None


def find_place(host: str, slot: str) -> Place:
    """Return the place; "" is no slot."""
    return Place(host, int(slot) if slot.isdecimal() and len(slot) <= 2 else None)


def sign_cookie(kind: str, key: int, place: Place) -> str:
    """Return the value of the cookie: it counts for this host name only."""
    return SIGNER.sign(f"{kind}.{key}.{place.host}")


def is_admitted(cookies: str, place: Place) -> bool:
    """Return whether the cookie of the request shows this run at this host name, at this moment."""
    cookie = find_cookie(cookies, VISIT_COOKIE)
    if cookie is None:
        return False
    try:
        kind, key, host = SIGNER.unsign(cookie).split(".", 2)
    except (signing.BadSignature, ValueError):
        return False
    return host == place.host and CHECKS[kind](int(key), place)


def _has_visit(key: int, place: Place) -> bool:
    row = place.fetch(sql.ADMIT_VISIT, id=key)
    if row is None:
        return False
    session_hash, password, is_superuser, groups = row
    # It changes with the account's password, which ends the account's logins.
    expected = User(password=password).get_session_auth_hash()
    abilities = list_account_abilities(is_superuser, groups)
    return constant_time_compare(session_hash, expected) and VIEW in abilities


def list_account_abilities(is_superuser: bool, groups: list[str]) -> frozenset[str]:
    """Return the abilities of an active account, as `get_abilities` does."""
    return frozenset(ABILITIES) if is_superuser else list_group_abilities(groups)


def _has_link(key: int, place: Place) -> bool:
    return place.fetch(sql.ADMIT_LINK, id=key) is not None


def _has_token(key: int, place: Place) -> bool:
    token = _read_token(place, id=key, digest=None)
    return token is not None and token.may_look()


CHECKS: dict[str, Callable[[int, Place], bool]] = {
    "visit": _has_visit,
    "share": _has_link,
    "token": _has_token,
}


@dataclass(frozen=True)
class BypassToken:
    """A valid token, its owner, and the run that it is to show; as `sql.ADMIT_TOKEN` returns it."""

    key: int
    name: str
    granted: list[str]
    is_owned: bool
    is_active: bool
    is_superuser: bool
    groups: list[str]
    branches: list[str]
    is_own_runs_only: bool
    branch: str | None
    created_by: str | None
    is_use_recorded: bool

    def may_look(self) -> bool:
        """Return whether it has the ability, and its limits include the run."""
        abilities = frozenset(self.granted)
        if self.is_owned:
            owner = list_account_abilities(self.is_superuser, self.groups)
            abilities &= list_token_abilities(owner) if self.is_active else frozenset()
        return bool(abilities & {PREVIEW, VIEW}) and self._includes_run()

    def _includes_run(self) -> bool:
        limits = RunLimits(tuple(self.branches), is_own_only=self.is_own_runs_only)
        if not limits:
            return True
        actor = f"token {self.name}"  # ApiToken.actor
        return self.branch is not None and limits.includes(
            actor, branch=self.branch, created_by=self.created_by or ""
        )


def _read_token(place: Place, **key: Any) -> BypassToken | None:
    row = place.fetch(sql.ADMIT_TOKEN, **key)
    return BypassToken(*row) if row is not None else None


def find_bypass(secret: str, place: Place, get_address: Callable[[], str]) -> int | None:
    """Return the id of the token with that secret; None unless it may look at the run.

    Records its use, at most once a minute.
    """
    token = _read_token(place, id=None, digest=hash_token(secret))
    if token is None or not token.may_look():
        return None
    if not token.is_use_recorded and (found := find_token(secret)) is not None:
        record_use(found, get_address())
    return token.key
