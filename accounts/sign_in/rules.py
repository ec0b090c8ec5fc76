"""Decisions about who signs in, and as what: values in, values out."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

from core.roles import find_highest

LONGEST_NAME = 150
STRANGE_CHARACTERS = re.compile(r"[^\w.@+-]")
# Signed with the provider's private key. Never `none`, and never a shared secret: with HS256 a
# client that took the public key for the secret would accept what a stranger signs with it.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")


def read_claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim of that name; else the one at that path, as in `realm_access.roles`."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def read_groups(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """Return the groups in the claim: a list of texts, or one text."""
    value = read_claim(claims, name)
    values = value if isinstance(value, list) else [value]
    return frozenset(one for one in values if isinstance(one, str))


def choose_role(groups: Collection[str], mapping: Mapping[str, str]) -> str:
    """Return the role of a person in these groups of the provider; "" for none."""
    found = {mapping[group] for group in groups if group in mapping}
    return find_highest(found)


def choose_name(claims: Mapping[str, Any], name: str) -> str:
    """Return the user name of a new account; characters that none may have become hyphens.

    In NFKC, as the log-in's form and the page Users have it: two names that look alike are one.
    """
    value = read_claim(claims, name)
    text = value if isinstance(value, str) and value.strip() else str(claims.get("sub", ""))
    normal = unicodedata.normalize("NFKC", text.strip())
    return STRANGE_CHARACTERS.sub("-", normal)[:LONGEST_NAME]


def choose_email(claims: Mapping[str, Any]) -> str:
    """Return the e-mail address that the provider has verified; "" without one.

    CODEOWNERS may name a person by it, so one that is not verified never counts.
    """
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified") is True else ""


def needs_factor(second_factor: str, *, is_operator: bool) -> bool:
    """Return whether an account must have a second factor, by the setting SECOND_FACTOR."""
    return second_factor == "everyone" or (second_factor == "operators" and is_operator)
