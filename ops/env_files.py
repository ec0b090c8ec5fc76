"""The embedded stack's env files: written once with new secrets, readable by their owner only."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from host.config import Config
from host.env_file import find_surprises, format_assignment, parse_env, replace_values
from host.errors import Refused
from host.files import safe_files
from ops.preconditions.shell_settings import find_differing

HEADER = "# Written once by quickstart.sh; .env.example lists every other setting.\n"
PREVIEW_NOTE = "# Variables for every preview, besides those for its own URLs and database.\n"
APP_NOTE = "# Variables for the production app, besides those for its own URLs and database.\n"
# Settings of the team's repository that quickstart copies from the shell to worker.env.
REPOSITORY_SETTINGS = (
    "GIT_REMOTE_URL",
    "GIT_LOCAL_ROOTS",
    "GIT_CREDENTIALS_FILE",
    "GIT_SSH_KEY_FILE",
    "GIT_SSH_KNOWN_HOSTS_FILE",
    "GIT_SSL_CAINFO",
    "MERGE_GATE_GIT_PUSH_BRANCH",
    "MERGE_GATE_GIT_PUSH_MODE",
    "MERGE_GATE_GIT_PUSH_REMOTE",
    "MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS",
)
# Ports, users and host names follow from these, so a later start must have the same values.
STACK_SETTINGS = ("OROBOROS_PORT_OFFSET", "OROBOROS_UID_BASE", "OROBOROS_SLOTS", "OROBOROS_DOMAIN")


def write_missing_files(config: Config, remote: Path) -> None:
    """Write the files that do not exist; the operator may have edited those that do."""
    config.env_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in build_contents(config, remote).items():
        path = config.env_dir / name
        if not path.exists():
            safe_files.write_atomic(path, text.encode(), 0o600)


def keep_shell_settings(config: Config) -> list[str]:
    """Write the shell's settings of the repository and the stack into the files that have others.

    `config` is read from the shell and the files. Returns a sentence for each file that changed.
    The port offset stays: `preflight` refuses another one.
    """
    names = {"worker.env": REPOSITORY_SETTINGS, "api.env": ("OROBOROS_SLOTS", "OROBOROS_DOMAIN")}
    sentences = []
    for file, kept in names.items():
        path = config.env_dir / file
        text = path.read_text()
        changed = find_differing(kept, config.environ, parse_env(text, str(path)))
        if changed:
            values = {name: config.get(name) for name in changed}
            safe_files.write_atomic(path, replace_values(text, values).encode(), 0o600)
            sentences.append(f"{', '.join(changed)} of the shell is now in {path}.")
    return sentences


def build_contents(config: Config, remote: Path) -> dict[str, str]:
    """Return the files of a new checkout by name.

    `remote` is the demo's repository: previews come from it unless GIT_REMOTE_URL names another.
    """
    api = {
        "OROBOROS_HOME": str(config.home),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": _build_database_url(config, "oroboros", "oroboros"),
    }
    api |= {name: config.get(name) for name in STACK_SETTINGS if config.get(name)}
    worker = {
        "PREVIEW_ADMIN_DATABASE_URL": _build_database_url(config, "oroboros_admin", "postgres"),
        **_build_repository_settings(config, remote),
    }
    return {
        "api.env": HEADER + _format_lines(api),
        "worker.env": HEADER + _format_lines(worker),
        "worker-preview.env": PREVIEW_NOTE,
        "app.env": APP_NOTE,
    }


def _build_repository_settings(config: Config, remote: Path) -> dict[str, str]:
    if config.git_remote_url:
        return {name: config.get(name) for name in REPOSITORY_SETTINGS if config.get(name)}
    return {
        "GIT_REMOTE_URL": str(remote),
        "GIT_LOCAL_ROOTS": str(remote.parent),
        # The demo's remote is this host's own; for a team's repository the default is manual.
        "MERGE_GATE_GIT_PUSH_MODE": "auto",
    }


def parse_role(url: str) -> tuple[str, str]:
    """Return the role and the password in a database URL."""
    parts = urlsplit(url)
    return parts.username or "", parts.password or ""


def _build_database_url(config: Config, role: str, database: str) -> str:
    password = secrets.token_urlsafe(24)  # no character of it needs quoting in a URL
    return f"postgresql://{role}:{password}@127.0.0.1:{config.postgres_port}/{database}"


def _format_lines(values: Mapping[str, str]) -> str:
    return "".join(format_assignment(name, value) for name, value in values.items())


def describe_values(folder: Path) -> list[str]:
    """Return a sentence for each value of the folder's env files that may surprise its author.

    Files that cannot be read have none: `read_env_file` refuses them where they are used.
    """
    sentences: list[str] = []
    for path in sorted(folder.glob("*.env")):
        try:
            sentences += find_surprises(path.read_text(), path.name)
        except (OSError, UnicodeDecodeError, Refused):
            continue
    return sentences
