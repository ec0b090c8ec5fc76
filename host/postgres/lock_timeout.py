"""Limits how long a `release:` waits for a lock, and repeats it after such a timeout.

A migration that waits for a lock makes every later query of that table wait behind it, so visitors
would hang for as long as a report or a forgotten session holds the table. `release:` therefore
waits for a short time only, and is repeated. The limit is a setting of the role, so that it holds
for every driver; a session may change it.

An application that migrates when it starts has the live one's role, which has no such limit: what
its visitors ask for may wait. So `StartWatch` looks at the sessions of a start.
"""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, LiteralString

from host.app.command_runner import CommandFailed
from host.config import Config
from host.deadline import Deadline
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
# Of the sessions that began at most so many seconds ago, those that wait for a table's lock, and
# whether another one waits behind it: before its turn, or for a lock that it has.
START_WAITS_QUERY = (
    "SELECT waiting.pid, EXISTS (SELECT FROM pg_locks AS behind WHERE NOT behind.granted"
    " AND behind.pid <> waiting.pid AND waiting.pid = ANY (pg_blocking_pids(behind.pid)))"
    " FROM pg_locks AS waiting JOIN pg_stat_activity USING (pid)"
    " WHERE NOT granted AND locktype = 'relation'"
    " AND datname = current_database() AND usename = current_user"
    " AND backend_start >= clock_timestamp() - make_interval(secs => %s)"
    " ORDER BY query_start, waiting.pid"
)
END_QUERY = "SELECT pg_terminate_backend(%s)"
LOOK_SECONDS = 1.0


class StartWatch:
    """Whether an application that starts makes others wait behind its own wait for a table.

    `url` is that of the database, with the application's role; what waits for more than `seconds`
    is too long, 0 is without a limit.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        self._begun = time.monotonic()
        self._pid: int | None = None
        self._limit, self._pause = Deadline(seconds), Deadline(LOOK_SECONDS)

    def is_obstructed(self) -> bool:
        """Look once in LOOK_SECONDS, and return whether the same session obstructs for too long."""
        if self._seconds == 0 or not self._pause.has_passed:
            return False
        pid = next((pid for pid, is_obstructing in self._read_waits() if is_obstructing), None)
        if pid is None or pid != self._pid:
            self._pid, self._limit = pid, Deadline(self._seconds)
        self._pause = Deadline(LOOK_SECONDS)
        return pid is not None and self._limit.has_passed

    def end_waits(self) -> None:
        """End the start's sessions that wait for a table.

        They would go on when their client is killed, until they have the lock.
        """
        for pid, _ in self._read_waits():
            _read_rows(self._url, END_QUERY, [pid])

    def _read_waits(self) -> list[tuple[Any, ...]]:
        return _read_rows(self._url, START_WAITS_QUERY, [time.monotonic() - self._begun])


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
    return next(iter(_read_rows(url, query)), None)


def _read_rows(
    url: str, query: LiteralString, values: Sequence[float] = ()
) -> list[tuple[Any, ...]]:
    import psycopg  # here, because it slows down the commands that need no database

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute(query, values or None).fetchall()
    except psycopg.Error:
        return []


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
