"""The database's clock, which alone decides: read it after the lock, pass it on as `at`."""

from datetime import datetime

from django.db import connection
from django.db.models import DateTimeField, Func


class ClockTimestamp(Func):
    """`clock_timestamp()`: the time now, where `now()` is the time the transaction began."""

    function = "clock_timestamp"
    output_field = DateTimeField()


def database_time() -> datetime:
    """Return the database's time now, read on the current connection (so after its locks)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]
