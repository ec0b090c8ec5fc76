"""A client's connection: the request it is sending, and what it has not received yet."""

import socket
import time
from typing import Any

from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn

from web.server.request_buffer import RequestBuffer

# A client that does not read gets what fits here; then the thread that answers it waits this long.
PENDING_BYTES = 8 * 1024 * 1024
WRITE_SECONDS = 20.0


class ClientSocket(socket.socket):
    """The socket as threads write to it: what the kernel does not take at once is kept.

    The worker's loop sends the rest, so that a client that reads slowly holds no thread.
    """

    __slots__ = ("pending",)

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())
        self.pending = bytearray()
        super().setblocking(False)

    def setblocking(self, flag: bool) -> None:
        """Leave it as it is: only `sendall` waits for the client."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.pending += data
        self.flush()
        if len(self.pending) > PENDING_BYTES:
            self.settimeout(WRITE_SECONDS)
            try:
                super().sendall(self.pending)
            except TimeoutError:
                raise ConnectionResetError("the client does not read") from None
            finally:
                self.settimeout(0)
            self.pending.clear()

    def flush(self) -> bool:
        """Send what the kernel takes without waiting; returns whether nothing is left.

        Raises OSError if the connection is lost.
        """
        try:
            while self.pending:
                del self.pending[: self.send(self.pending[: 256 * 1024])]
        except BlockingIOError:
            return False
        return True


class Connection(TConn):
    """A connection whose parser gets whole requests, and never reads from the socket itself."""

    def __init__(self, cfg: Any, accepted: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, ClientSocket(accepted), client, server)
        self.initialized = True
        self.parser = RequestParser(cfg, (), client)
        self.buffer = RequestBuffer(time.monotonic())
        self.deadline = self.buffer.deadline
        self.has_sent_continue = False

    @property
    def kept_bytes(self) -> int:
        """How much memory the request and the unsent part of the answer take."""
        return len(self.buffer.data) + len(self.sock.pending)

    def start_request(self) -> int:
        """Hand the whole request to the parser, and begin the buffer of the next one.

        Returns the size of the request in bytes.
        """
        request, self.buffer = self.buffer.take(time.monotonic())
        self.parser.unreader.unread(request)
        self.has_sent_continue = False
        return len(request)
