"""The settings of the sign-in. Without Django: the doctor reads them too."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from core.roles import ROLES
from host.config import Config
from host.masking.secret_file import read_secret

SCOPES = ("openid", "profile", "email")
GROUPS_CLAIM = "groups"
NAME_CLAIM = "preferred_username"


@dataclass(frozen=True)
class Provider:
    """The OpenID Connect provider.

    `groups` maps its groups to our roles; where a person has several, the one with most abilities
    counts. `session_hours`: after them a person goes through the provider again.
    """

    issuer: str
    name: str
    client_id: str
    secret_file: Path | None
    scopes: tuple[str, ...]
    groups_claim: str
    name_claim: str
    groups: dict[str, str]
    session_hours: int

    @property
    def key(self) -> str:
        """What the accounts of this issuer are stored with: another issuer has other subjects."""
        return f"oidc-{hashlib.sha256(self.issuer.encode()).hexdigest()[:16]}"

    @property
    def discovery_url(self) -> str:
        return f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    def read_secret(self) -> str:
        """Return the client's secret. Raises Refused `secret_unreadable`."""
        return read_secret("OIDC_CLIENT_SECRET_FILE", self.secret_file)


@dataclass(frozen=True)
class SignIn:
    """How people sign in. `second_factor`: who must have one: optional, operators or everyone."""

    provider: Provider | None
    has_passwords: bool
    second_factor: str

    def get_provider(self) -> Provider:
        """Return the provider, where nothing leads without one."""
        if self.provider is None:
            raise LookupError("no provider is set")
        return self.provider


def split_list(text: str, *, pattern: str = r"\s*,\s*") -> tuple[str, ...]:
    """Return the parts of a setting that are separated by commas."""
    return tuple(part for part in re.split(pattern, text.strip()) if part)


def read_options(config: Config) -> SignIn:
    """Return the settings of the sign-in, which `settings_rules` has checked."""
    return SignIn(
        provider=_read_provider(config) if config.get("OIDC_ISSUER") else None,
        has_passwords=config.get_boolean("PASSWORD_SIGN_IN", default=True),
        second_factor=config.get_choice("SECOND_FACTOR"),
    )


def _read_provider(config: Config) -> Provider:
    groups = {
        group: role
        for role in ROLES  # of several roles the last counts
        for group in split_list(config.get(f"OIDC_{role.upper()}_GROUPS"))
    }
    secret_file = config.get("OIDC_CLIENT_SECRET_FILE")
    return Provider(
        issuer=config.get("OIDC_ISSUER"),
        name=config.get("OIDC_NAME", "single sign-on"),
        client_id=config.get("OIDC_CLIENT_ID"),
        secret_file=Path(secret_file) if secret_file else None,
        scopes=split_list(config.get("OIDC_SCOPES"), pattern=r"[\s,]+") or SCOPES,
        groups_claim=config.get("OIDC_GROUPS_CLAIM", GROUPS_CLAIM),
        name_claim=config.get("OIDC_USERNAME_CLAIM", NAME_CLAIM),
        groups=groups,
        session_hours=config.get_integer("OIDC_SESSION_HOURS", 12),
    )
