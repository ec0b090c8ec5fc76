"""The entries' table. Connections are kept and shared by the server's threads."""

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[dict[str, Any]]
KEPT_CONNECTIONS = 4


def connect() -> Connection:
    return psycopg.connect(
        os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row, connect_timeout=5
    )


class Store:
    """The guestbook in PostgreSQL."""

    def __init__(self) -> None:
        self._free: queue.LifoQueue[Connection] = queue.LifoQueue(KEPT_CONNECTIONS)

    def health(self) -> dict[str, Any]:
        row = self._one("SELECT current_database() AS database, count(*) AS entries FROM entries")
        return dict(row)

    def entries(self, limit: int) -> list[dict[str, Any]]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, name, message, written_at FROM entries ORDER BY id DESC LIMIT %s",
                [limit],
            )
            return [_shown(row) for row in rows]

    def sign(self, name: str, message: str) -> dict[str, Any]:
        return _shown(
            self._one(
                "INSERT INTO entries (name, message) VALUES (%s, %s)"
                " RETURNING id, name, message, written_at",
                [name, message],
            )
        )

    def _one(self, query: Any, values: list[Any] | None = None) -> dict[str, Any]:
        with self._connection() as connection:
            row = connection.execute(query, values).fetchone()
            assert row is not None
            return row

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Lend a connection that works; one that broke meanwhile is not kept."""
        connection = self._working()
        try:
            yield connection
        except psycopg.Error:
            connection.close()
            raise
        try:
            self._free.put_nowait(connection)
        except queue.Full:
            connection.close()

    def _working(self) -> Connection:
        while True:
            try:
                connection = self._free.get_nowait()
            except queue.Empty:
                return connect()
            try:
                connection.execute("SELECT 1")
            except psycopg.Error:  # the server was restarted
                connection.close()
            else:
                return connection


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "written_at": row["written_at"].isoformat()}
