"""Connections to the PostgreSQL server as the administrator, and the locks held on them.

Works on PostgreSQL 15 to 18. psycopg takes 0.2 s to import: import this package's modules, other
than `guard`, `schema_diff` and `schema_snapshot`, inside the functions that use them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from host.config import Config
from host.errors import Refused

CONNECT_SECONDS = 10
LOCK_INTERVAL_SECONDS = 0.1

# The server connection that this thread has open, with its URL.
_OPEN: ContextVar[tuple[str, psycopg.Connection] | None] = ContextVar("_OPEN", default=None)


@dataclass(frozen=True)
class DatabaseIdentity:
    """What a server says about the database of a connection, whatever the URL called it."""

    system: int
    oid: int
    name: str
    role: str


@dataclass(frozen=True)
class Server:
    """The server of `PREVIEW_ADMIN_DATABASE_URL`; `production` selects the names it may change."""

    config: Config
    production: bool = False

    @contextmanager
    def connection(self, database: str | None = None) -> Iterator[psycopg.Connection]:
        """Connect to the server, or to one of its databases, in autocommit mode.

        Nested calls without a database share one connection: opening one costs some milliseconds,
        most of them for the password. Raises Refused `setting_invalid`, `database_unreachable`,
        `database_rights_missing`, `database_failed`, `disk_full`.
        """
        url = self.config.preview_admin_database_url
        if not url:
            raise Refused("setting_invalid", "PREVIEW_ADMIN_DATABASE_URL is not set.")
        is_open = _OPEN.get()
        if database is None and is_open is not None and is_open[0] == url:
            yield is_open[1]
            return
        with connect(url, database) as connection:
            if database is not None:
                yield connection
                return
            token = _OPEN.set((url, connection))
            try:
                yield connection
            finally:
                _OPEN.reset(token)

    @contextmanager
    def database_lock(
        self, name: str, check: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Hold the advisory lock of the database `name` while the block runs.

        Waits without a limit, and calls `check` between two attempts; an exception that `check`
        raises ends the wait. The lock holds for every host that uses this server.
        """
        acquire = "SELECT pg_try_advisory_lock(hashtext(%s))"
        key = [f"oroboros:{name}"]
        with self.connection() as connection:
            # Not pg_advisory_lock: a waiting statement could not call `check`.
            while connection.execute(acquire, key).fetchone() != (True,):
                check()
                time.sleep(LOCK_INTERVAL_SECONDS)
            try:
                yield
            finally:
                # A shared connection stays open, so the lock must be released by a statement; a
                # connection that is lost has released it already.
                with suppress(psycopg.OperationalError):
                    connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", key)


def identify_database(url: str) -> DatabaseIdentity:
    """Connect to the URL and return which database answers. Raises Refused as `connect`."""
    with connect(url) as connection:
        row = connection.execute(
            "SELECT system_identifier, oid, datname, current_user"
            " FROM pg_control_system(), pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None  # noqa: S101 — every session is in a database
    return DatabaseIdentity(*row)


@contextmanager
def connect(url: str, database: str | None = None) -> Iterator[psycopg.Connection]:
    """Connect in autocommit mode; PostgreSQL's errors within the block are raised as Refused.

    The codes are `disk_full`, `database_rights_missing`, `database_unreachable` (503) and
    `database_failed` (503).
    """
    options = {"connect_timeout": str(CONNECT_SECONDS), "application_name": "oroboros"}
    if database is not None:
        options["dbname"] = database
    try:
        with psycopg.connect(make_conninfo(url, **options), autocommit=True) as connection:
            yield connection
    except errors.DiskFull as error:
        raise Refused("disk_full", f"PostgreSQL's disk is full: {_message(error)}") from error
    except errors.InsufficientPrivilege as error:
        detail = f"PostgreSQL refused: {_message(error)}. See PREVIEW_ADMIN_DATABASE_URL."
        raise Refused("database_rights_missing", detail) from error
    except psycopg.OperationalError as error:
        raise Refused("database_unreachable", _message(error), status=503) from error
    except psycopg.InternalError as error:  # such as a checkpoint that failed on a full disk
        detail = f"PostgreSQL failed; see its own log for the cause: {_message(error)}."
        raise Refused("database_failed", detail, status=503) from error


def _message(error: psycopg.Error) -> str:
    # Without a server's answer the text has several lines; the first names the cause.
    return error.diag.message_primary or str(error).strip().partition("\n")[0]
