"""Django's PostgreSQL backend with a connection check that costs no query.

The settings name this package as ENGINE; Django imports `base.DatabaseWrapper` from it.
"""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that detects its loss by its socket."""

    def is_usable(self) -> bool:
        """Return whether the server still serves the connection.

        An idle server sends nothing except that it ended the session, so a readable idle socket is
        a lost connection. Django's own check is a round trip before every request.
        """
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)
