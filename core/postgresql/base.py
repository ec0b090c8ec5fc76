"""Django's PostgreSQL, whose connections are looked at before a request without a question.

Named as ENGINE in the settings; Django looks for `base.DatabaseWrapper` in there.
"""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that is known to be lost by its socket."""

    def is_usable(self) -> bool:
        """Say whether the server still serves the connection.

        It says nothing unasked but that the session is over, so an idle socket that can be read
        is a lost connection. Django's own look is a round trip before every request.
        """
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)
