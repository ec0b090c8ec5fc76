"""API tokens: made once, stored as a digest."""

import hashlib
import secrets

from accounts.models import ApiToken
from accounts.reserved_names import validate_token_name
from core.clock import ClockTimestamp

PREFIX = "oro_"


def digest(secret: str) -> str:
    """Return what is stored of a token: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create_token(name: str, abilities: list[str], *, created_by: str) -> str:
    """Make a token and return its secret, which is kept nowhere.

    Raises ValidationError for what is no name of a token, IntegrityError if the name is taken or
    an ability is none of ABILITIES.
    """
    validate_token_name(name)
    secret = PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        name=name,
        digest=digest(secret),
        abilities=abilities,
        created_by=created_by,
        created_at=ClockTimestamp(),
    )
    return secret
