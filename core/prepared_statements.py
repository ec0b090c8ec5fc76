"""Prepared SQL statements: planned once per connection, several in one round trip.

PostgreSQL needs ten times as long to plan the statement that grants slots as to execute it, and the
ORM needs longer to build a statement than PostgreSQL to answer it. See docs/decisions/0004.
"""

from typing import Any

from django.db import connection
from psycopg import Cursor


def fetch(*statements: str, **values: Any) -> list[list[tuple]]:
    """Execute prepared statements in one round trip; returns the rows of each.

    Outside of a transaction they form one of their own, which the server commits after the last.
    Raises the exceptions of Django's cursors. This uses psycopg's cursor, because Django's insert
    the parameters on the client, and such a statement cannot be prepared.
    """
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursors = [Cursor(connection.connection) for _ in statements]
        with connection.connection.pipeline():
            for cursor, statement in zip(cursors, statements, strict=True):
                cursor.execute(statement, values, prepare=True)
        return [cursor.fetchall() for cursor in cursors]
