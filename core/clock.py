"""The database's clock, the only one that decides. Read it after the lock; pass it on as `at`."""

from datetime import datetime

from django.db import connection
from django.db.models import DateTimeField, Func
from django.utils import timezone


class ClockTimestamp(Func):
    """`clock_timestamp()`: the current time. SQL's `now()` is the start of the transaction."""

    function = "clock_timestamp"
    output_field = DateTimeField()


def get_database_time() -> datetime:
    """Return the database's time. The query runs after the locks that this connection took."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def format_minute(at: datetime) -> str:
    """Return a time as text, in the current time zone, to the minute and with its zone."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"
