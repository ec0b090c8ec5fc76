"""API tokens: creating, rotating and finding them. Only the hashes of their secrets are stored."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import BooleanField, ExpressionWrapper, Q

from accounts.models import ApiToken
from accounts.reserved_names import validate_token_name
from core.clock import ClockTimestamp, get_database_time
from host.errors import Refused
from web.permissions import LONGEST_PATTERN, RunLimits, is_branch_pattern

TOKEN_PREFIX = "oro_"  # noqa: S105  no secret: every token begins with it

MAX_LIFETIME_DAYS = 3650
# For how long a replaced secret goes on by default, and at most.
GRACE_HOURS, MAX_GRACE_HOURS = 24, 7 * 24
MAX_PATTERNS = 20
KNOWN_ADDRESSES = 100  # that a token remembers
USED_RECENTLY = Q(last_used_at__isnull=False) & Q(
    last_used_at__gt=ClockTimestamp() - timedelta(minutes=1)
)


def hash_token(secret: str) -> str:
    """Return the hash that is stored of a secret. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def get_default_lifetime() -> timedelta:
    """Return after how long a token expires if nothing else is asked for (TOKEN_LIFETIME_DAYS)."""
    return timedelta(days=settings.TOKEN_LIFETIME_DAYS)


def validate_patterns(patterns: Sequence[str]) -> None:
    """Raise ValidationError `pattern_malformed` unless all can be patterns of branches."""
    if len(patterns) > MAX_PATTERNS:
        detail = f"A token has at most {MAX_PATTERNS} patterns of branches."
        raise ValidationError(detail, code="pattern_malformed")
    wrong = next((one for one in patterns if not is_branch_pattern(one)), None)
    if wrong is not None:
        detail = (
            f"{wrong[:LONGEST_PATTERN]} is no pattern of branches: write it as for git branch "
            "--list, such as feature/* or release-?.[0-9]."
        )
        raise ValidationError(detail, code="pattern_malformed")


def create_token(
    name: str,
    abilities: list[str],
    *,
    created_by: str,
    owner: User | None = None,
    lifetime: timedelta | None = None,
    limits: RunLimits | None = None,
) -> str:
    """Create a token and return its secret, which is not stored.

    A token with an `owner` never has more abilities than that account has at the time of a
    request. It expires after `lifetime`; None means never. Raises ValidationError for an invalid
    name or pattern, IntegrityError if the name is taken or an ability is unknown.
    """
    limits = limits or RunLimits()
    validate_token_name(name)
    validate_patterns(limits.branches)
    secret = _make_secret()
    ApiToken.objects.create(
        name=name,
        digest=hash_token(secret),
        abilities=abilities,
        created_by=created_by,
        owner=owner,
        is_owned=owner is not None,
        created_at=ClockTimestamp(),
        expires_at=None if lifetime is None else get_database_time() + lifetime,
        branches=list(limits.branches),
        is_own_runs_only=limits.is_own_only,
    )
    return secret


def rotate_token(token: ApiToken, *, lifetime: timedelta | None, grace: timedelta) -> str:
    """Give the token a new secret, and return it; it is not stored.

    It expires after `lifetime` from now; None means never. The present secret goes on for `grace`,
    but not longer than it would have without the rotation. Raises Refused `token_revoked`.
    """
    secret = _make_secret()
    expires_at = None if lifetime is None else get_database_time() + lifetime
    if not token.rotate(hash_token(secret), expires_at=expires_at, grace=grace):
        raise Refused("token_revoked", f"{token} is revoked: create another token.")
    return secret


def _make_secret() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def find_token(secret: str) -> ApiToken | None:
    """Return the valid token with that secret, and its owner; None if there is none."""
    tokens = ApiToken.objects.valid().with_secret(hash_token(secret)).select_related("owner")
    recent = ExpressionWrapper(USED_RECENTLY, output_field=BooleanField())
    return tokens.annotate(is_use_recorded=recent).first()


def name_token(secret: str) -> str:
    """Return whose secret it is or was, also of a token that is revoked or expired, in words."""
    token = ApiToken.objects.filter(
        Q(digest=hash_token(secret)) | Q(previous_digest=hash_token(secret))
    ).first()
    return "an unknown token" if token is None else token.name


def record_use(token: ApiToken, address: str) -> bool:
    """Record the use of a token from `find_token`, at most once a minute by the database's clock.

    Of several requests at once the first records it, and the others write nothing. Returns whether
    the address is new for the token.
    """
    is_new = address not in token.known_addresses
    if is_new:
        known = [*token.known_addresses, address][-KNOWN_ADDRESSES:]
        # Of several requests at once from the address, one finds the list as it was read.
        unchanged = ApiToken.objects.filter(pk=token.pk, known_addresses=token.known_addresses)
        is_new = unchanged.update(known_addresses=known) == 1
    if not token.is_use_recorded:  # type: ignore[attr-defined]
        unrecorded = ApiToken.objects.filter(pk=token.pk).exclude(USED_RECENTLY)
        unrecorded.update(last_used_at=ClockTimestamp(), last_used_address=address)
    return is_new
