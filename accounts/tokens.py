"""Creating API tokens; only their hash is stored."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User

from accounts.models import ApiToken
from accounts.reserved_names import validate_token_name
from core.clock import ClockTimestamp, get_database_time

TOKEN_PREFIX = "oro_"  # noqa: S105  no secret: every token begins with it

DEFAULT_LIFETIME_DAYS = 90
MAX_LIFETIME_DAYS = 3650


def hash_token(secret: str) -> str:
    """Return the hash that is stored of a secret. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create_token(
    name: str,
    abilities: list[str],
    *,
    created_by: str,
    owner: User | None = None,
    lifetime: timedelta | None = None,
) -> str:
    """Create a token and return its secret, which is not stored.

    A token with an `owner` never has more abilities than that account has at the time of a
    request. It expires after `lifetime`; None means never. Raises ValidationError for an invalid
    name, IntegrityError if the name is taken or an ability is unknown.
    """
    validate_token_name(name)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        name=name,
        digest=hash_token(secret),
        abilities=abilities,
        created_by=created_by,
        owner=owner,
        is_owned=owner is not None,
        created_at=ClockTimestamp(),
        expires_at=None if lifetime is None else get_database_time() + lifetime,
    )
    return secret
