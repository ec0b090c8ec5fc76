"""HTTP servers of this process."""

import http.server
import threading
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that closes early is no error here."""


@contextmanager
def serving(handler):
    """Serve on a free port of 127.0.0.1 and yield it.

    `released`, an event of the server's, is set at the end: a handler may wait for it.
    """
    server = Server(("127.0.0.1", 0), handler)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
