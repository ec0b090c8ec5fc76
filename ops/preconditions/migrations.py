"""Which migrations of this checkout the control plane's database does not have."""

from collections.abc import Iterable
from pathlib import Path

import psycopg

from host.config import Config

CONNECT_SECONDS = 5
QUERY = "SELECT app || '.' || name FROM django_migrations"


def find_missing_migrations(config: Config) -> list[str]:
    """Return them as `app.name`, as after a pull. Raises psycopg.Error if it does not answer."""
    try:
        with psycopg.connect(config.database_url, connect_timeout=CONNECT_SECONDS) as connection:
            applied = [name for (name,) in connection.execute(QUERY)]
    except psycopg.errors.UndefinedTable:  # of a database without any
        applied = []
    return find_missing(list_migrations(config.home), applied)


def find_missing(names: Iterable[str], applied: Iterable[str]) -> list[str]:
    """Return the names that are not applied, in order."""
    return sorted(set(names) - set(applied))


def list_migrations(home: Path) -> list[str]:
    """Return the migrations of our applications as `app.name`; an app is named for its folder."""
    files = home.glob("*/migrations/[0-9]*.py")
    return [f"{file.parents[1].name}.{file.stem}" for file in files]
