"""Reads the schema of a database from pg_catalog."""

import json

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import make_conninfo

from host.errors import Refused
from host.postgres.schema_queries import build_snapshot_query
from host.postgres.schema_snapshot import Snapshot

CONNECT_SECONDS = 10
READ_SECONDS = 60
# What a database or a role may set, and what PostgreSQL's text depends on; pg_dump sets the same.
# An empty search_path makes every name a qualified one.
SETTINGS = {
    "search_path": "",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "statement_timeout": f"{READ_SECONDS}s",
    # A planner that compiles this one statement takes longer than the statement.
    "jit": "off",
}


def read_schema(url: str) -> Snapshot:
    """Return the schema of everything in the database that belongs to no extension.

    The role needs no rights but to connect. Raises Refused `schema_unreadable`.
    """
    options = {"connect_timeout": str(CONNECT_SECONDS), "client_encoding": "UTF8"}
    try:
        with psycopg.connect(make_conninfo(url, **options)) as connection:
            return _read_snapshot(connection)
    except psycopg.Error as error:
        detail = f"The schema of the database cannot be read: {str(error).strip()}"
        raise Refused("schema_unreadable", detail[-2000:]) from error


def _read_snapshot(connection: psycopg.Connection) -> Snapshot:
    connection.read_only = True
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    settings = ", ".join(f"set_config('{name}', '{SETTINGS[name]}', true)" for name in SETTINGS)
    connection.execute(f"SELECT {settings}".encode())
    row = connection.execute(build_snapshot_query().encode()).fetchone()
    assert row is not None  # noqa: S101 — a SELECT without FROM has one row
    snapshot: Snapshot = json.loads(row[0])
    return snapshot
