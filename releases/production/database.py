"""Production's database: its URL, its role's password, and its creation."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from host.config import Config
from host.files import safe_files
from host.postgres import administration, guard, lock_timeout


def production_database_url(config: Config) -> str:
    """Return the URL by which the application connects, with its role's password."""
    return _build_url(config, config.production_database, _ensure_password(config))


@contextmanager
def release_database_url(config: Config) -> Iterator[str]:
    """Yield the URL by which `release:` connects: as a role that does not wait long for a lock.

    What that role creates is the application's role's.
    """
    admin = administration.DatabaseAdmin(config, production=True)
    password = admin.ensure_release_role(lock_timeout.read_lock_timeout(config))
    try:
        yield _build_url(config, guard.release_role(config), password)
    finally:
        admin.reassign_release_objects()


def _build_url(config: Config, role: str, password: str) -> str:
    server = guard.parse_url(config.preview_admin_database_url)
    address = f"{server.get('host', '127.0.0.1')}:{server.get('port', '5432')}"
    return f"postgresql://{role}:{quote(password)}@{address}/{config.production_database}"


def ensure_production_database(config: Config) -> None:
    """Create production's role and database if they are missing; change nothing that exists."""
    name = config.production_database
    admin = administration.DatabaseAdmin(config, production=True)
    # Without the file the role's password is unknown, so it is set again.
    has_password = _password_file(config).exists()
    if not has_password or not admin.is_ready(name, name):
        # The role first: it is to own the database.
        admin.ensure_role(name, _ensure_password(config))
        admin.create(name, name)


def _password_file(config: Config) -> Path:
    return config.var / "secrets" / "app_production.password"


def _ensure_password(config: Config) -> str:
    """Return the role's password. It is made once and kept: the live colour goes on using it."""
    path = _password_file(config)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        safe_files.write_atomic(path, secrets.token_urlsafe(24).encode(), 0o600)
    return path.read_text()
