"""Bring the database up to date: each file of `migrations/` once, in the order of their names.

    python -m guestbook.migrate

A file is one transaction, so a failing one leaves no trace.
"""

import sys
from pathlib import Path

import psycopg

from guestbook.store import Connection, connect

FOLDER = Path(__file__).resolve().parents[1] / "migrations"
LOCK = 7_041_776


def pending(folder: Path, done: set[str]) -> list[Path]:
    """Return the files that were not applied yet, in order."""
    return [path for path in sorted(folder.glob("*.sql")) if path.stem not in done]


def migrate(connection: Connection) -> list[str]:
    """Apply what is pending and return its names. One migration of a database at a time."""
    connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    done = {row["name"] for row in connection.execute("SELECT name FROM migrations")}
    applied = []
    for path in pending(FOLDER, done):
        print(f"applying {path.stem}", flush=True)
        with connection.transaction():
            connection.execute(path.read_bytes())
            connection.execute("INSERT INTO migrations (name) VALUES (%s)", [path.stem])
        applied.append(path.stem)
    return applied


def main() -> int:
    with connect() as connection:
        try:
            applied = migrate(connection)
        except psycopg.Error as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    print(f"{len(applied)} applied, the database is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
