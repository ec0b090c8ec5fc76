"""The env files of the embedded stack: made once, with secrets of their own, for our eyes only."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from host.config import Config
from host.files import safe_files

HEAD = "# Made once by quickstart; .env.example says what else can be set.\n"
PREVIEW_NOTE = "# What every preview is given besides its own addresses and database.\n"
APP_NOTE = "# What the production app is given besides its own addresses and database.\n"
# What the shell of the first start may say of the team's repository, kept in worker.env.
ASKED = (
    "GIT_REMOTE_URL",
    "GIT_LOCAL_ROOTS",
    "GIT_CREDENTIALS_FILE",
    "GIT_SSH_KEY_FILE",
    "GIT_SSH_KNOWN_HOSTS_FILE",
    "MERGE_GATE_GIT_PUSH_BRANCH",
    "MERGE_GATE_GIT_PUSH_MODE",
    "MERGE_GATE_GIT_PUSH_REMOTE",
    "MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS",
)
# What names the stack's ports, users and hosts must stay what it was set up with.
KEPT = ("OROBOROS_PORT_OFFSET", "OROBOROS_UID_BASE", "OROBOROS_SLOTS", "OROBOROS_DOMAIN")


def make(config: Config, remote: Path) -> None:
    """Write the files that are not there yet; what is there is somebody's own by now."""
    config.env_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in contents(config, remote).items():
        path = config.env_dir / name
        if not path.exists():
            safe_files.write_atomic(path, text.encode(), 0o600)


def contents(config: Config, remote: Path) -> dict[str, str]:
    """Return what a new checkout's files say; `remote` is the demo's, unless another is asked."""
    api = {
        "OROBOROS_HOME": str(config.home),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": _database_url(config, "oroboros", "oroboros"),
    }
    api |= {name: config.get(name) for name in KEPT if config.get(name)}
    worker = {
        "PREVIEW_ADMIN_DATABASE_URL": _database_url(config, "oroboros_admin", "postgres"),
        **_repository(config, remote),
    }
    return {
        "api.env": HEAD + _lines(api),
        "worker.env": HEAD + _lines(worker),
        "worker-preview.env": PREVIEW_NOTE,
        "app.env": APP_NOTE,
    }


def _repository(config: Config, remote: Path) -> dict[str, str]:
    if config.git_remote_url:
        return {name: config.get(name) for name in ASKED if config.get(name)}
    return {
        "GIT_REMOTE_URL": str(remote),
        "GIT_LOCAL_ROOTS": str(remote.parent),
        "MERGE_GATE_GIT_PUSH_MODE": "auto",
    }


def role(url: str) -> tuple[str, str]:
    """Return the role and the password that a database URL names."""
    parts = urlsplit(url)
    return parts.username or "", parts.password or ""


def _database_url(config: Config, role: str, database: str) -> str:
    password = secrets.token_urlsafe(24)
    return f"postgresql://{role}:{password}@127.0.0.1:{config.postgres_port}/{database}"


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())
