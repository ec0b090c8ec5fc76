"""Creating API tokens; only their hash is stored."""

import hashlib
import secrets

from accounts.models import ApiToken
from accounts.reserved_names import validate_token_name
from core.clock import ClockTimestamp

TOKEN_PREFIX = "oro_"  # noqa: S105  no secret: every token begins with it


def hash_token(secret: str) -> str:
    """Return the hash that is stored of a secret. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create_token(name: str, abilities: list[str], *, created_by: str) -> str:
    """Create a token and return its secret, which is not stored.

    Raises ValidationError for an invalid name, IntegrityError if the name is taken or an ability
    is unknown.
    """
    validate_token_name(name)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        name=name,
        digest=hash_token(secret),
        abilities=abilities,
        created_by=created_by,
        created_at=ClockTimestamp(),
    )
    return secret
