"""Threads that use the database for a moment every second share a few connections."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


class SharedConnections:
    """Lends each thread a connection for as long as it needs one; `keep` of them stay open between.

    An idle connection takes 3 MB of PostgreSQL's memory, and a new one takes 8 ms.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        # The one that was used last is lent first, so that few are in use.
        self._idle: list[BaseDatabaseWrapper] = []

    @contextmanager
    def lend(self) -> Iterator[None]:
        """Make an idle connection the calling thread's own in the body of the with statement.

        If all are lent, the thread opens another one when it first needs it.
        """
        with self._lock:
            lent = self._idle.pop() if self._idle else None
        if lent is not None:
            # One that the server has ended meanwhile is replaced.
            lent.close_if_unusable_or_obsolete()
            connections[DEFAULT_DB_ALIAS] = lent
        try:
            yield
        finally:
            used = connections[DEFAULT_DB_ALIAS]
            del connections[DEFAULT_DB_ALIAS]
            self._take_back(used, is_new=used is not lent)

    def _take_back(self, used: BaseDatabaseWrapper, *, is_new: bool) -> None:
        if is_new:
            used.inc_thread_sharing()  # Django refuses its use by another thread otherwise
        if used.connection is None:
            return
        with self._lock:
            # In a transaction it is what a bug left behind.
            is_kept = len(self._idle) < self._keep and not used.in_atomic_block
            if is_kept:
                self._idle.append(used)
        if not is_kept:
            used.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()
