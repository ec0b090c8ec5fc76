"""Outages of the database: one line in the log when one begins, and one when it ends.

During an outage every process meets it many times a second, each time with a traceback. They leave
these out (`absorb`), and one of them, which holds a lock, watches the server and says both lines.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection

from host.files import safe_files
from host.files.file_lock import file_lock

log = logging.getLogger(__name__)

PROBE_SECONDS = 0.5
# Connections that the outage broke are noticed when they are used again; what is noticed within
# this time after the last line belongs to the same outage.
SETTLED_SECONDS = 120.0
# Class 08: connection exceptions; 57P01 to 57P03: the server shuts down, crashed, or is starting.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
SERVER_GONE = ("08", "57P01", "57P02", "57P03")


def is_outage(error: BaseException | None) -> bool:
    """Return whether the error, or one that it follows from, is a lost or refused connection.

    A statement that the server refused, such as after a lock's timeout, is none.
    """
    return any(_is_lost_connection(one) for one in _iterate_causes(error))


def _iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_lost_connection(error: BaseException) -> bool:
    return isinstance(error, OperationalError | InterfaceError) and _is_lost_by(error.__cause__)


def _is_lost_by(error: BaseException | None) -> bool:
    # psycopg has no code for what libpq reports itself: a connection refused, or closed.
    code = getattr(error, "sqlstate", None)
    return code is None or code.startswith(SERVER_GONE)


def is_lost_server(error: BaseException | None) -> bool:
    """Return whether a server is gone to which the code connected without Django.

    It has the previews' databases, and may be the one that has the control plane's.
    """
    kinds = psycopg.OperationalError | psycopg.InterfaceError
    return any(isinstance(one, kinds) and _is_lost_by(one) for one in _iterate_causes(error))


def absorb(error: BaseException | None) -> bool:
    """Return whether the error is an outage's; then see to it that the outage is announced."""
    if not is_outage(error) and not (is_lost_server(error) and _is_ours_gone()):
        return False
    _start_watch(describe(error))
    return True


def _is_ours_gone() -> bool:
    """Return whether the control plane's own database does not answer, or did not a moment ago."""
    return is_open() or _has_just_ended() or not is_answering()


def describe(error: BaseException | None) -> str:
    """Return the first line of the lost connection's message."""
    lost = next((one for one in _iterate_causes(error) if _is_lost_connection(one)), error)
    return (str(lost).splitlines() or ["no answer"])[0]


def is_open() -> bool:
    """Return whether an outage has begun that has not ended."""
    return _marker().exists()


def resume() -> None:
    """Watch an outage that another process announced, if that process has ended meanwhile."""
    if is_open():
        _start_watch("")


def _marker() -> Path:
    return settings.OROBOROS.var / "run" / "database-outage"


def _last_end() -> Path:
    """Return the file whose time is that of the last line about an outage."""
    return _marker().with_suffix(".last")


def _start_watch(cause: str) -> None:
    # In a thread: who met the outage, such as a request, does not wait for its end.
    threading.Thread(target=_watch, args=(cause,), daemon=True).start()


def _watch(cause: str) -> None:
    """Say when the outage begins, wait for its end and say that; return if another process does."""
    with suppress(OSError), file_lock(_lock(), seconds=0) as is_taken:
        if not is_taken:
            return
        if is_answering() and not is_open():
            _announce_lost_session(cause)
            return
        if not is_open():
            log.error("The database does not answer; what needs it waits. %s", cause)
            safe_files.write_atomic(_marker(), str(time.time()).encode())
        while not is_answering():
            time.sleep(PROBE_SECONDS)
        seconds = time.time() - float(_marker().read_text() or 0)
        _marker().unlink()
        _last_end().touch()
        log.warning("The database answers again after %.0f s.", seconds)


def _lock() -> Path:
    return _marker().with_suffix(".lock")


def _announce_lost_session(cause: str) -> None:
    """Say once that a session ended although the server answers; not just after an outage."""
    if _has_just_ended():
        return
    _last_end().touch()
    log.warning("A session with the database was ended; the next one works. %s", cause)


def _has_just_ended() -> bool:
    with suppress(FileNotFoundError):
        return time.time() - _last_end().stat().st_mtime < SETTLED_SECONDS
    return False


def is_answering() -> bool:
    """Return whether the server takes a new connection of this thread."""
    try:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    finally:
        with suppress(Error):
            connection.close()
    return True
