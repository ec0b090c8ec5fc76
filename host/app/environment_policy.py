"""Which names in an environment nobody but us may set. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

# What makes a program run other code than its own, or speaks for the control plane.
BLOCKED = (
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
# What only we may set, for each start anew.
GIVEN = {
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
    """Say whether the name never passes, whoever names it."""
    return matches(name, BLOCKED)


def is_ours(name: str) -> bool:
    """Say whether only we may set it."""
    return name in GIVEN


def may_be_mapped(name: str) -> bool:
    """Say whether a manifest's `[env]` may set it; a URL's scheme may have to be another."""
    return name == "DATABASE_URL" or not (is_blocked(name) or is_ours(name))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Say whether a pattern with `*` fits the name, in capitals or not."""
    return any(fnmatchcase(name.upper(), pattern.upper()) for pattern in patterns)
