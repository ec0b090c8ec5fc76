"""Limits how long a `release:` waits for a lock, and repeats it after such a timeout.

A migration that waits for a lock makes every later query of that table wait behind it, so visitors
would hang for as long as a report or a forgotten session holds the table. `release:` therefore
waits for a short time only, and is repeated. The limit is a setting of the role, so that it holds
for every driver; a session may change it.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

from host.app.command_runner import CommandFailed
from host.config import Config
from host.files import log_files, safe_files

LOCK_TIMEOUT_SECONDS = 5
RETRIES = 5
FIRST_PAUSE_SECONDS = 2.0
POLL_SECONDS = 0.1
TAIL_LINES = 400
# PostgreSQL's error 55P03, as the server, psycopg and other drivers print it.
LOCK_TIMEOUT = re.compile(r"canceling statement due to lock timeout|LockNotAvailable|\b55P03\b")
# The role sees the queries of its own sessions; of others only that they exist.
LOCK_HOLDER_QUERY = (
    "SELECT pid, left(query, 200) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1"
)
# The one that has waited longest is that behind which the others wait.
LOCK_WAIT_QUERY = (
    "SELECT pid, left(query, 200) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND wait_event_type = 'Lock' ORDER BY query_start, pid LIMIT 1"
)


def read_lock_timeout(config: Config) -> int:
    """Return for how many seconds `release:` waits for a lock; 0 is without a limit."""
    return config.get_integer("RELEASE_LOCK_TIMEOUT_SECONDS", LOCK_TIMEOUT_SECONDS)


def describe_lock_holders(url: str) -> str:
    """Return a sentence about the longest transaction on the database; "" if unknown."""
    row = _read_row(url, LOCK_HOLDER_QUERY)
    return f"The longest transaction is that of process {row[0]}: {row[1]}" if row else ""


def describe_lock_wait(url: str) -> str:
    """Return sentences about a session that waits for a lock now; "" if none does, or unknown."""
    row = _read_row(url, LOCK_WAIT_QUERY)
    if row is None:
        return ""
    return (
        f"The session of process {row[0]} of the database waits for a lock, and other sessions may "
        f"wait behind it: {row[1]}\nA migration belongs into `release:`, which waits for a limited "
        f"time and is repeated.\n{describe_lock_holders(url)}"
    ).rstrip()


def _read_row(url: str, query: LiteralString) -> tuple[Any, ...] | None:
    import psycopg  # here, because it slows down the commands that need no database

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute(query).fetchone()
    except psycopg.Error:
        return None


def run_with_retries(
    run: Callable[[], None],
    log: Path,
    report: Callable[[str], None],
    stop: Callable[[], bool],
    describe_locks: Callable[[], str],
) -> None:
    """Call `run`, again up to RETRIES times while a lock timeout ends it. Raises CommandFailed.

    `run` runs a `release:` with its output in `log`. `describe_locks` returns a sentence about the
    sessions that hold locks, "" if there is none. Each pause is twice as long as the one before,
    and ends when `stop` returns true.
    """
    holders = ""
    for attempt in range(RETRIES + 1):
        log_start = log_files.read_size(log)
        try:
            run()
            return
        except CommandFailed as failed:
            tail = safe_files.read_tail(log, TAIL_LINES, log_start)
            if stop() or not LOCK_TIMEOUT.search(tail):
                raise
            holders = describe_locks() or holders
            if attempt == RETRIES:
                reason = f"waited too long for a lock, {RETRIES + 1} times. {holders}".rstrip()
                raise CommandFailed("release", reason, log_start=log_start) from failed
        seconds = FIRST_PAUSE_SECONDS * 2**attempt
        report(
            f"`release:` waited too long for a lock; again in {seconds:.0f} s. {holders}".rstrip()
        )
        pause(seconds, stop)


def pause(seconds: float, stop: Callable[[], bool]) -> None:
    """Wait for `seconds`, or until `stop` returns true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop():
        time.sleep(POLL_SECONDS)
