"""What of the control plane's own settings is a secret: one list.

Masks know these values, the page of the settings hides them, the doctor checks who can read the
files, and `tests/system/test_planted_secrets.py` plants each of them.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from host.settings_rules import PLACEHOLDERS

# The value itself.
VALUES = ("SECRET_KEY",)
# Of the value the password, or the token in the place of a user. Other settings that name an
# address, such as a proxy or a package index of the environment, are masked like these.
ADDRESSES = (
    "DATABASE_URL",
    "PREVIEW_ADMIN_DATABASE_URL",
    "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE",
    "GIT_REMOTE_URL",
    "MERGE_GATE_GIT_PUSH_REMOTE",
)
# The value is the path of a file, each line of which is a secret.
FILES = (
    "GIT_CREDENTIALS_FILE",
    "GIT_SSH_KEY_FILE",
    "FORGE_WEBHOOK_SECRET_FILE",
    "FORGE_TOKEN_FILE",
    "FORGE_APP_KEY_FILE",
    "OIDC_CLIENT_SECRET_FILE",
    "NOTIFICATION_SMTP_PASSWORD_FILE",
)
# Below `var`: the password of the embedded PostgreSQL's superuser, which no setting names.
SUPERUSER_FILE = Path("postgres/superuser.password")
# No application may be given the values of these.
OWN = ("SECRET_KEY", "DATABASE_URL", "PREVIEW_ADMIN_DATABASE_URL")
FILE_BYTES = 64 * 1024
USER_INFO = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^/\s:@]*)(?::(?P<password>[^/\s]*))?@",
    re.IGNORECASE,
)
# As a password these say that the user before them is a token.
NO_PASSWORDS = (None, "", "x-oauth-basic")
TOKEN_LENGTH = 16
# Passwords that are usual words: a mask in their place would make logs unreadable.
WORDS = ("password", "postgres", "oroboros", *PLACEHOLDERS)


def select_values(settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets that are in the values of settings."""
    for name, value in settings.items():
        if name in VALUES:
            yield value
        elif "@" in value:
            yield from find_address_secrets(value)


def find_address_secrets(text: str) -> Iterator[str]:
    """Yield the passwords of the URLs in the text, and the tokens, as written and as meant."""
    for match in USER_INFO.finditer(text):
        user, password = match["user"], match["password"]
        is_token = match["scheme"].lower() in ("http", "https") and len(user) >= TOKEN_LENGTH
        if password in NO_PASSWORDS:
            secret = user if is_token else ""
        else:
            secret = "" if password in (user, *WORDS) else password
        yield from (secret, unquote(secret))


def list_files(settings: Mapping[str, str], var: Path) -> list[Path]:
    """Return the files of secrets that the settings name, and our own below `var`."""
    named = [Path(settings[name]) for name in FILES if settings.get(name)]
    return [*named, var / SUPERUSER_FILE]


def read_lines(path: Path) -> Iterator[str]:
    """Yield the secrets of a file; none if it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        for line in file.read(FILE_BYTES).decode(errors="replace").splitlines():
            yield line
            yield from find_address_secrets(line)
