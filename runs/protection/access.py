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
from core.audit_trail import Entry, append_entry
from core.prepared_statements import fetch
from runs.models import Run
from runs.protection import sql
from runs.protection.visits import VISIT_HOURS
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
SIGNER = signing.TimestampSigner(salt="oroboros.preview")
SHORT_DIGEST = 16  # characters of a token's hash in its cookie


@dataclass(frozen=True)
class PreviewHost:
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


def find_preview_host(host: str, slot: str) -> PreviewHost:
    """Return the host name of a preview with its slot; "" is no slot."""
    return PreviewHost(host, int(slot) if slot.isdecimal() and len(slot) <= 2 else None)


def sign_cookie(kind: str, key: str, preview_host: PreviewHost) -> str:
    """Return the value of the cookie: it counts for this host name only."""
    return SIGNER.sign(f"{kind}.{key}.{preview_host.host}")


@dataclass(frozen=True)
class Admission:
    """That a cookie shows what is here; of a person also who that is, and the run here."""

    user: str = ""
    run_id: str = ""


def find_admission(cookies: str, preview_host: PreviewHost) -> Admission | None:
    """Return whether the cookie of the request shows this run at this host name, at this moment."""
    cookie = find_cookie(cookies, VISIT_COOKIE)
    if cookie is None:
        return None
    try:
        kind, key, host = SIGNER.unsign(cookie).split(".", 2)
        if kind == "token":  # the others end with their rows
            SIGNER.unsign(cookie, max_age=VISIT_HOURS * 3600)
    except (signing.BadSignature, ValueError):
        return None
    return CHECKS[kind](key, preview_host) if host == preview_host.host else None


def _find_visit(key: str, preview_host: PreviewHost) -> Admission | None:
    row = preview_host.fetch(sql.ADMIT_VISIT, id=int(key))
    if row is None:
        return None
    session_hash, password, is_superuser, groups, user, run = row
    # It changes with the account's password, which ends the account's logins.
    expected = User(password=password).get_session_auth_hash()
    abilities = list_account_abilities(is_superuser, groups)
    is_valid = constant_time_compare(session_hash, expected) and VIEW in abilities
    return Admission(user, str(run or "")) if is_valid else None


def list_account_abilities(is_superuser: bool, groups: list[str]) -> frozenset[str]:
    """Return the abilities of an active account, as `get_abilities` does."""
    return frozenset(ABILITIES) if is_superuser else list_group_abilities(groups)


def _find_link(key: str, preview_host: PreviewHost) -> Admission | None:
    return Admission() if preview_host.fetch(sql.ADMIT_LINK, id=int(key)) is not None else None


def _find_token(key: str, preview_host: PreviewHost) -> Admission | None:
    """The key is the token's id and the beginning of the hash of its secret.

    So a cookie that a secret made ends with that secret, as after a rotation.
    """
    number, _, short = key.partition("-")
    token = _read_token(preview_host, id=int(number), short=short, digest=None, address=None)
    return Admission() if token is not None and token.may_look() else None


CHECKS: dict[str, Callable[[str, PreviewHost], Admission | None]] = {
    "visit": _find_visit,
    "share": _find_link,
    "token": _find_token,
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


def _read_token(preview_host: PreviewHost, **key: Any) -> BypassToken | None:
    row = preview_host.fetch(sql.ADMIT_TOKEN, **key)
    return BypassToken(*row) if row is not None else None


def find_bypass(secret: str, preview_host: PreviewHost, address: str, agent: str) -> str | None:
    """Return the key for the cookie of the token with that secret; None unless it may look.

    Records its use, at most once a minute, and from a new address always.
    """
    digest = hash_token(secret)
    token = _read_token(preview_host, id=None, short=None, digest=digest, address=address)
    if token is None or not token.may_look():
        return None
    found = None if token.is_use_recorded else find_token(secret)
    if found is not None and record_use(found, address):
        append_entry(Entry("token_new_address", found.actor, address, agent, found.name))
    return f"{token.key}-{digest[:SHORT_DIGEST]}"
