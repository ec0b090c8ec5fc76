"""Finds and configures PostgreSQL's client programs: pg_dump, pg_restore and psql."""

import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg

from host.errors import Refused
from host.postgres import guard
from host.postgres.programs import server_programs
from host.postgres.programs.server_programs import read_version


def libpq_environment(url: str) -> dict[str, str]:
    """Return the environment in which PostgreSQL's programs connect to the URL.

    An environment, because every user of the host can read a command line.
    """
    values = {"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}
    for field, value in guard.parse_url(url).items():
        values[{"dbname": "PGDATABASE"}.get(field, f"PG{field.upper()}")] = value
    return values


@cache
def find_pg_dumps() -> tuple[Path, ...]:
    """Return the pg_dump programs of this host, the newest first."""
    versions = {path: read_version(path) for path in _candidates() if path.exists()}
    return tuple(sorted(versions, key=lambda path: -versions[path]))


def find_pg_dump(url: str) -> Path:
    """Return the oldest pg_dump of this host that is at least as new as the server.

    psql and pg_restore of the same version lie beside it. Raises Refused `pg_dump_missing` and
    `database_unreachable`.
    """
    try:
        with psycopg.connect(url) as connection:
            server = connection.info.server_version // 10000
    except psycopg.Error as error:
        detail = f"The database does not answer: {error}."
        raise Refused("database_unreachable", detail, status=503) from error
    # pg_dump refuses a server newer than itself. Of those that fit, the oldest: every newer
    # pg_restore can read its dumps.
    fitting = [path for path in reversed(find_pg_dumps()) if read_version(path) >= server]
    if not fitting:
        detail = f"No pg_dump of PostgreSQL {server} or newer is installed."
        raise Refused("pg_dump_missing", detail)
    return fitting[0]


def _candidates() -> Iterator[Path]:
    yield from (folder / "pg_dump" for folder, _ in server_programs.list_bin_folders())
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path)
