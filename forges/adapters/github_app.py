"""The access of a GitHub App: a token of its installation in the repository, valid for an hour.

Source: docs.github.com, Authenticating as a GitHub App installation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import quote

from forges.adapters.http_client import Client
from forges.adapters.payload import find, read, read_time
from forges.forge_settings import ForgeSettings
from host.errors import Refused

# Of what the App signs itself with: at most 10 minutes, and GitHub's clock may be behind.
PROOF_LIFETIME, CLOCK_SKEW = timedelta(minutes=9), timedelta(minutes=1)
# A token is replaced so long before it expires: longer than any use of one.
RENEWED_BEFORE = timedelta(minutes=5)


@dataclass(frozen=True)
class _Token:
    text: str
    expires_at: datetime
    permissions: Mapping[str, Any]


# By what they are for; in the memory of the process only.
_tokens: dict[tuple[str, ...], _Token] = {}
# Reentrant: a refusal of the request for a token has one forgotten.
_lock = RLock()


def get_token(settings: ForgeSettings, create_client: Callable[[str], Client]) -> str:
    """Return a token for the repository alone, from memory while it is valid for a while.

    Raises Refused `secret_unreadable` for the App's key; ForgeFailed, with 404 if the App is not
    installed in the repository.
    """
    key = _name(settings)
    with _lock:
        known = _tokens.get(key)
        if known is None or known.expires_at - RENEWED_BEFORE <= datetime.now(UTC):
            known = _tokens[key] = _request_token(settings, create_client)
    return known.text


def get_permissions(settings: ForgeSettings) -> Mapping[str, Any]:
    """Return the permissions of the token that was requested last; {} if none was."""
    known = _tokens.get(_name(settings))
    return known.permissions if known is not None else {}


def _name(settings: ForgeSettings) -> tuple[str, ...]:
    return (settings.url, settings.repository, settings.app_id, str(settings.app_key_file))


def forget_token(text: str) -> None:
    """Have a new token requested: GitHub refused this one, as after a new installation."""
    with _lock:
        for key in [key for key, token in _tokens.items() if token.text == text]:
            del _tokens[key]


def _request_token(settings: ForgeSettings, create_client: Callable[[str], Client]) -> _Token:
    app = create_app_client(settings, create_client)
    installation = app.get(f"/repos/{quote(settings.repository)}/installation")
    name = settings.repository.partition("/")[2]
    path = f"/app/installations/{read(installation, 'id', int)}/access_tokens"
    answer = app.post(path, {"repositories": [name]})
    permissions = find(answer, "permissions") or {}
    return _Token(read(answer, "token", str), read_time(answer, "expires_at"), permissions)


def create_app_client(settings: ForgeSettings, create_client: Callable[[str], Client]) -> Client:
    """Return the client of the App itself, which is valid for minutes. Raises as `get_token`."""
    return create_client(_sign_proof(settings, datetime.now(UTC)))


def _sign_proof(settings: ForgeSettings, at: datetime) -> str:
    """Return the JSON web token that proves that we are the App."""
    # Imported here: it takes 60 ms and 10 MB, and few installations have an App.
    import jwt

    claims = {"iat": at - CLOCK_SKEW, "exp": at + PROOF_LIFETIME, "iss": settings.app_id}
    try:
        return jwt.encode(claims, _read_key(settings.app_key_file), algorithm="RS256")
    except (jwt.InvalidKeyError, ValueError, TypeError):
        detail = f"FORGE_APP_KEY_FILE: {settings.app_key_file} is no private RSA key in PEM."
        raise Refused("secret_unreadable", detail) from None


def _read_key(path: Path | None) -> bytes:
    if path is None:
        raise Refused("secret_unreadable", "FORGE_APP_KEY_FILE is not set.")
    try:
        return path.read_bytes()
    except OSError as error:
        detail = f"FORGE_APP_KEY_FILE: {path}: {error.strerror}."
        raise Refused("secret_unreadable", detail) from None
