"""Refuses a database of a version before 0.1.

0.1 has new initial migrations under the old names, so Django would take the old tables for its own
and leave them as they are. `manage.py migrate` runs this check before it changes anything.
"""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DEFAULT_DB_ALIAS, connection

CODE = "schema_too_old"
# Only versions before 0.1 have this table: its app label is not used since.
OLD_TABLE = "oroboros_apitoken"
DETAIL = (
    "This database is of a version before 0.1, which cannot be upgraded: back it up, uninstall, "
    "and install anew, as docs/upgrade.md says."
)


def is_schema_too_old() -> bool:
    """Return whether the control plane's database has the tables of a version before 0.1."""
    return OLD_TABLE in connection.introspection.table_names()


@register(Tags.database)
def check_schema(*, databases: Sequence[str] | None = None, **options: Any) -> list[CheckMessage]:
    """Report a database of a version before 0.1 as an error with the id `schema_too_old`."""
    if DEFAULT_DB_ALIAS not in (databases or ()) or not is_schema_too_old():
        return []
    return [Error(DETAIL, id=CODE)]
