"""The settings whose values are checked when any process starts, and their reading.

`host.config.load` checks all of them, so `manage.py`, gunicorn, the worker and the scripts refuse
a wrong value with the same code and sentence, and none of them starts with it. Settings of
deployments and retention are read when they are needed (`Config.get_seconds`): a wrong one must
not prevent a rollback.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from host.errors import Refused

MAX_SLOTS = 64  # the router and the units' rules for ports have as many
MAX_SERVERS = 3  # of an application beside `web`: the surfaces and the units' rules have as many
YEAR_SECONDS = 366 * 24 * 3600
# The lowest and the highest value of each whole number.
NUMBERS = {
    "OROBOROS_PORT_OFFSET": (0, 50000),
    "OROBOROS_SLOTS": (1, MAX_SLOTS),
    "OROBOROS_UID_BASE": (1000, 2**31),
    "OROBOROS_QUEUE_LIMIT": (1, 10**7),
    "STEP_TIMEOUT_SECONDS": (1, 7 * 24 * 3600),
    "PREVIEW_TTL_SECONDS": (1, YEAR_SECONDS),
    "PREVIEW_DISK_MB": (1, 2**30),
    "MERGE_GATE_COPY_MB": (0, 2**20),
    "PREVIEW_REDIS_MB": (1, 2**20),
    "PREVIEW_PROCESSES": (64, 2**20),
    "PREVIEW_START_SECONDS": (1, 3600),
    "PREVIEW_WEBSOCKET_SECONDS": (1, 24 * 3600),
    "CERTIFICATE_NAMES_PER_DAY": (1, 10_000),
    "RELEASE_LOCK_TIMEOUT_SECONDS": (0, 3600),
    "PREVIEW_DATABASE_CONNECTIONS": (1, 10_000),
    "TEMPLATE_DATABASES_KEEP": (0, 10_000),
    "ADMISSION_FREE_MEMORY_MB": (0, 2**30),
    "ADMISSION_FREE_DISK_MB": (0, 2**30),
    "APPROVAL_REQUIRED_COUNT": (1, 20),
    "TOKEN_LIFETIME_DAYS": (1, 3650),
    "API_REQUESTS_PER_TOKEN": (0, 10**6),
    "API_REQUESTS_PER_ADDRESS": (0, 10**6),
    "PREVIEW_PER_AUTHOR": (0, 1000),
    "NOTIFICATION_SMTP_PORT": (1, 65535),
    "OIDC_SESSION_HOURS": (1, 720),
}
BOOLEANS = (
    "OROBOROS_HTTPS",
    "OROBOROS_PUBLIC",
    "DEBUG",
    "ROLLBACK_FREEZES",
    "APPROVE_BY_REVIEW",
    "FORGE_DEPLOYMENTS",
    "PASSWORD_SIGN_IN",
    "PREVIEW_USER_HEADER",
)
# The values that a setting may have; the first is the default.
CHOICES = {
    "APPROVAL_SELF": ("allowed", "forbidden"),
    "APPROVAL_CODEOWNERS": ("off", "required"),
    "MERGE_GATE_PRECHECK": ("manual", "auto"),
    "PREVIEW_SCREENSHOTS": ("auto", "off"),
    "SHIP_THROUGH": ("push", "pull-request"),
    "NOTIFICATION_SMTP_SECURITY": ("starttls", "tls", "none"),
    "SECOND_FACTOR": ("optional", "operators", "everyone"),
    # Without a value it depends on whether visitors use HTTPS: `Config.is_protected`.
    "PREVIEW_PROTECTION": ("open", "protected"),
}
TRUE_WORDS = ("true", "on", "ok", "y", "yes", "1")  # those of django-environ
FALSE_WORDS = ("false", "off", "n", "no", "0")
# These names become parts of URLs, of Caddy's configuration, and of the queue's name.
NAMES = ("OROBOROS_DOMAIN", "OROBOROS_HOST")
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?")
# These become parts of the router's configuration too. The second is what each must be.
PATTERNS = {
    "ACME_DIRECTORY": (
        re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?"),
        "an https address such as https://ca.example.com/acme/directory",
    ),
    "ACME_CA_ROOT": (
        re.compile(r"/[A-Za-z0-9._/-]+"),
        "the absolute path of a file, of letters, digits, dots, hyphens and underscores",
    ),
    "ACME_EMAIL": (
        re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+"),
        "an e-mail address",
    ),
}
SECRET_CHARACTERS = 32
PLACEHOLDERS = ("changeme", "django-insecure", "secret")


def read_integer(values: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of NUMBERS; an empty value counts as not set.

    Raises Refused `setting_invalid`.
    """
    raw = values.get(name, "")
    if not raw:
        return default
    low, high = NUMBERS[name]
    if not (raw.isascii() and raw.isdigit() and len(raw) < 20 and low <= int(raw) <= high):
        raise _refuse(name, f"a whole number from {low} to {high}", raw)
    return int(raw)


def read_boolean(values: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Return a setting of BOOLEANS; an empty value counts as not set.

    Raises Refused `setting_invalid`.
    """
    word = values.get(name, "").lower()
    if word and word not in TRUE_WORDS + FALSE_WORDS:
        raise _refuse(name, "true or false", word)
    return word in TRUE_WORDS if word else default


def read_choice(values: Mapping[str, str], name: str) -> str:
    """Return a setting of CHOICES; an empty value counts as not set.

    Raises Refused `setting_invalid`.
    """
    choices, raw = CHOICES[name], values.get(name, "")
    if raw and raw not in choices:
        raise _refuse(name, " or ".join(choices), raw)
    return raw or choices[0]


def read_origins(values: Mapping[str, str], name: str) -> list[str]:
    """Return a list of origins, separated by commas or blanks. Raises Refused `setting_invalid`."""
    origins = [one for one in re.split(r"[,\s]+", values.get(name, "")) if one]
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            detail = f"{name}: write {origin!r} as https://app.example.com, no path."
            raise Refused("setting_invalid", detail)
    return origins


def read_networks(values: Mapping[str, str], name: str) -> list[str]:
    """Return a setting's networks, separated by blanks or commas. Raises Refused as above."""
    found = values.get(name, "").replace(",", " ").split()
    for one in found:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise _refuse(name, "networks such as 10.1.0.0/16", one) from None
    return found


def check_values(values: Mapping[str, str]) -> None:
    """Check every setting above that is set.

    Raises Refused `setting_invalid` with a sentence for each wrong one.
    """
    checks: list[tuple[Callable[[Mapping[str, str], str], object], tuple[str, ...]]] = [
        (lambda values, name: read_integer(values, name, 0), tuple(NUMBERS)),
        (read_boolean, BOOLEANS),
        (read_choice, tuple(CHOICES)),
        (_check_name, NAMES),
        (_check_pattern, tuple(PATTERNS)),
        (_check_public, ("OROBOROS_PUBLIC",)),
        (_check_database_url, ("DATABASE_URL",)),
        (_check_time_zone, ("TIME_ZONE",)),
        (read_origins, ("CORS_APP_ORIGINS",)),
        (read_networks, ("NOTIFICATION_NETWORKS",)),
        (_check_issuer, ("OIDC_ISSUER",)),
        (_check_way_in, ("PASSWORD_SIGN_IN",)),
    ]
    problems = {}
    for check, names in checks:
        for name in filter(values.get, names):
            try:
                check(values, name)
            except Refused as refused:
                problems[name] = refused.detail
    if problems:
        raise Refused("setting_invalid", " ".join(problems.values()), fields=problems)


def name_files(
    refused: Refused, values: Mapping[str, str], stored: Mapping[str, Mapping[str, str]]
) -> Refused:
    """Return a refusal of `check_values` with the env files that have the wrong values.

    `stored` is each env file's content by its path. A value of the shell is in none of them.
    """
    wrong = [
        path
        for path, found in stored.items()
        if any(name in found and found[name] == values[name] for name in refused.fields)
    ]
    if not wrong:
        return refused
    detail = f"{refused.detail} Correct it in {', '.join(wrong)}, then ./scripts/apply-settings.sh"
    return Refused(refused.code, detail, fields=refused.fields)


def require_secrets(values: Mapping[str, str]) -> None:
    """Check the two settings without which the control plane cannot start.

    Raises Refused `not_set_up` for one that is not set, `env_secret_weak` for a weak SECRET_KEY.
    """
    for name in ("SECRET_KEY", "DATABASE_URL"):
        if not values.get(name):
            raise Refused(
                "not_set_up",
                f"{name} is not set: run ./scripts/quickstart.sh, which writes it to "
                "var/env/api.env, or set it there.",
            )
    secret = values["SECRET_KEY"]
    if len(secret) < SECRET_CHARACTERS or secret.lower().startswith(PLACEHOLDERS):
        raise Refused(
            "env_secret_weak",
            f"SECRET_KEY looks like a placeholder: set {SECRET_CHARACTERS} or more random "
            "characters.",
        )


def _check_name(values: Mapping[str, str], name: str) -> None:
    if not HOST_NAME.fullmatch(values[name]):
        raise _refuse(name, "a name of letters, digits, dots and hyphens", values[name])


def _check_pattern(values: Mapping[str, str], name: str) -> None:
    pattern, form = PATTERNS[name]
    if not pattern.fullmatch(values[name]):
        raise _refuse(name, form, values[name])


def _check_public(values: Mapping[str, str], name: str) -> None:
    if read_boolean(values, name) and not values.get("OROBOROS_DOMAIN"):
        detail = f"{name} needs OROBOROS_DOMAIN: the domain whose names lead to this host."
        raise Refused("setting_invalid", detail)


def _check_database_url(values: Mapping[str, str], name: str) -> None:
    try:
        parts = urlsplit(values[name])
        is_postgres = parts.scheme in ("postgresql", "postgres", "psql") and parts.port != 0
    except ValueError:  # a port that is no number
        is_postgres = False
    if not is_postgres:
        # Without the value, which holds a password.
        raise Refused(
            "setting_invalid", f"{name} must be postgresql://role:password@host:port/database."
        )


def _check_issuer(values: Mapping[str, str], name: str) -> None:
    try:
        parts = urlsplit(values[name])
        is_allowed = parts.scheme == "https" or (
            parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        )
    except ValueError:
        is_allowed = False
    if not (is_allowed and parts.hostname) or parts.query or parts.fragment:
        raise _refuse(name, "the https:// address that the provider names", values[name])
    if not values.get("OIDC_CLIENT_ID"):
        detail = "OIDC_ISSUER needs OIDC_CLIENT_ID, as the provider shows it."
        raise Refused("setting_invalid", detail)


def _check_way_in(values: Mapping[str, str], name: str) -> None:
    if not read_boolean(values, name) and not values.get("OIDC_ISSUER"):
        detail = "PASSWORD_SIGN_IN=false needs OIDC_ISSUER: there would be no way to log in."
        raise Refused("setting_invalid", detail)


def _check_time_zone(values: Mapping[str, str], name: str) -> None:
    # Imported here: it takes as long as all of this module, and few hosts set it.
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(values[name])
    except (ValueError, OSError, KeyError):  # an unknown zone is a KeyError
        raise _refuse(name, "a time zone such as Europe/Berlin", values[name]) from None


def _refuse(name: str, form: str, value: str) -> Refused:
    return Refused("setting_invalid", f"{name} must be {form}, not {value!r}.")
