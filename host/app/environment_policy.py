"""Which environment variables an application or the operator may not set. Pure functions."""

import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from host.errors import Refused

# Variables that make a program run other code than its own, and those of the control plane.
# Sources: ld.so(8), bash(1), perlrun(1), git(1), the documentation of libpq, of Python and of Node.
BLOCKED_PATTERNS = (
    "LD_*",
    "DYLD_*",
    "PYTHON*",
    "BASH_ENV",
    "BASH_FUNC_*",
    "ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "IFS",
    "PROMPT_COMMAND",
    "PERL5*",
    "PERLLIB",
    "RUBYOPT",
    "RUBYLIB",
    "NODE_OPTIONS",
    "NODE_PATH",
    "JAVA_TOOL_OPTIONS",
    "GCONV_PATH",
    "GIT_*",
    "PGSERVICE*",
    "PGPASSFILE",
    "PGSYSCONFDIR",
    "PGOPTIONS",
    "OROBOROS_*",
    "WORKER_*",
    "MERGE_GATE_*",
    "DEPLOY_*",
    "PREVIEW_ADMIN_*",
    "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE",
)
# Variables that Oroboros sets at each start.
RESERVED_NAMES = {
    "PATH",
    "HOME",
    "TMPDIR",
    "VIRTUAL_ENV",
    "PORT",
    "DATABASE_URL",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "FRONTEND_URL",
    "BACKEND_URL",
    "CORS_ALLOWED_ORIGINS",
}


def is_blocked(name: str) -> bool:
    """Return whether no source but Oroboros may set the variable."""
    return is_matched_by(name, BLOCKED_PATTERNS)


def is_reserved(name: str) -> bool:
    """Return whether Oroboros sets the variable at each start."""
    return name in RESERVED_NAMES


def can_manifest_set(name: str) -> bool:
    """Return whether a manifest's `[env]` may set the variable.

    It may set DATABASE_URL: some drivers need another scheme in it.
    """
    return name == "DATABASE_URL" or not (is_blocked(name) or is_reserved(name))


def is_matched_by(name: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns, which may contain `*`, matches; case is ignored."""
    return any(fnmatchcase(name.upper(), pattern.upper()) for pattern in patterns)


def split_patterns(text: str) -> list[str]:
    """Return the patterns of a setting, which blanks or commas separate."""
    return [pattern for pattern in re.split(r"[,\s]+", text) if pattern]


def describe_left_out(
    name: str, file: str, allowed: Collection[str], blocked: Collection[str]
) -> str:
    """Return which of the operator's patterns keeps a variable of `file` from all processes.

    "" if none does. Without a pattern in `allowed` all names are allowed.
    """
    if is_matched_by(name, blocked):
        return f"{name} of {file} is in WORKER_SUBPROCESS_ENV_BLOCKLIST."
    if allowed and not is_matched_by(name, allowed):
        return f"{name} of {file} is not in WORKER_SUBPROCESS_ENV_ALLOWLIST."
    return ""


def forbid(name: str, origin: str) -> Refused:
    """Return the refusal of a variable that `origin` may not set."""
    return Refused(
        "env_key_forbidden", f"{name} may not be set in {origin}: take it out.", status=400
    )
