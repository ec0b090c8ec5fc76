"""What the provider publishes: its discovery document and its keys, kept for some minutes.

In the memory of each process, so that a log-in is not two requests to the provider longer. A
document that was refused is not kept.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.core.cache import cache

from accounts.sign_in.options import Provider

KEPT_SECONDS = 600  # for which a key that the provider withdraws may still count
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")


def read_discovery(provider: Provider) -> dict[str, Any]:
    """Return the provider's discovery document. Raises OAuth2Error as `check_discovery`."""
    name = build_name("discovery", provider.key)
    document: dict[str, Any] | None = cache.get(name)
    if document is None:
        document = _request(provider.discovery_url)
        check_discovery(document, provider.issuer)
        cache.set(name, document, KEPT_SECONDS)
    return document


def check_discovery(document: Mapping[str, Any], issuer: str) -> None:
    """Raise OAuth2Error unless the document is of that issuer, and leads where it is encrypted.

    Source: OpenID Connect Discovery 1.0, 4.3.
    """
    if document.get("issuer") != issuer:
        raise OAuth2Error(f"the provider calls itself {document.get('issuer')!r}")
    scheme = urlsplit(issuer).scheme
    for name in ENDPOINTS:
        if name in document and urlsplit(str(document[name])).scheme not in ("https", scheme):
            raise OAuth2Error(f"{name} is not https")


def read_with_keys(url: str, read: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return `read` of the JWK set at that address.

    Where the kept ones do not do, the provider may have new ones, which are requested once. Raises
    OAuth2Error as `read`. Source: OpenID Connect Core 1.0, 10.1.1.
    """
    name = build_name("keys", url)
    keys = cache.get(name)
    if keys is not None:
        try:
            return read(keys)
        except OAuth2Error:
            cache.delete(name)
    keys = _request(url)
    claims = read(keys)
    cache.set(name, keys, KEPT_SECONDS)
    return claims


def build_name(kind: str, key: str) -> str:
    """Return the name in the cache of the kind of document with that key."""
    return f"sign-in-{kind}-{hashlib.sha256(key.encode()).hexdigest()}"


def _request(url: str) -> Any:
    with get_adapter().get_requests_session() as session:
        response = session.get(url)
        response.raise_for_status()
        return response.json()
