"""Hot statements, written by hand: planned once a connection, several in one round trip.

To plan the statement that grants takes PostgreSQL ten times as long as to do it; to put one
together takes the ORM longer than PostgreSQL to answer. See docs/decisions/0004.
"""

from typing import Any

from django.db import connection
from psycopg import Cursor


def fetch(*statements: str, **values: Any) -> list[list[tuple]]:
    """Run prepared statements in one round trip; returns each one's rows.

    Outside of a transaction they are one of their own, which ends on the server with the last of
    them. Raises as Django's own cursors, which bind on our side, where nothing can be prepared.
    """
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursors = [Cursor(connection.connection) for _ in statements]
        with connection.connection.pipeline():
            for cursor, statement in zip(cursors, statements, strict=True):
                cursor.execute(statement, values, prepare=True)
        return [cursor.fetchall() for cursor in cursors]
