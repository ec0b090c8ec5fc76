"""gunicorn's threaded worker, with requests read and answers sent by its loop, not by its threads.

A thread gets a request when it is whole. See docs/decisions/0020.
"""

import json
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from web.errors import CODES
from web.server.connection import Connection
from web.server.paced_pool import PacedPool
from web.server.peers import choose_excess, is_from_shell, name_peers
from web.server.request_buffer import HEAD_SECONDS

READ_BYTES = 64 * 1024
# After the answer: for the client to close its end, so that no answer is lost by a reset.
LINGER_SECONDS = 2.0
SWEEP_SECONDS = 0.25
# In each worker, of what clients have sent so far and have not received yet.
KEPT_BYTES = 64 * 1024 * 1024
# In each worker. Checked this often, because finding the peers reads the table of all processes.
CONNECTIONS_PER_PEER = 64
PEERS_SECONDS = 1.0
# While requests wait for a thread.
QUEUE_SECONDS = 0.05
REFUSAL_CODES = {**CODES, 431: "head_too_large", 501: "transfer_coding_unsupported"}
HEALTH_PATHS = {b"/health", b"/healthz", b"/readyz"}


class BufferingWorker(ThreadWorker):
    """Reads requests in its loop, with deadlines and limits; its threads only compute answers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections that no thread has, the one that has waited longest first.
        self.waiting: dict[Connection, None] = {}
        self.connections: set[Connection] = set()
        self.swept_at = self.limited_at = 0.0

    def init_process(self) -> None:
        # Probes, and the operator's shell if no thread is free, do not wait behind others.
        self.health_pool = PacedPool(ThreadPoolExecutor(max_workers=1), 1)
        self.shell_pool = PacedPool(ThreadPoolExecutor(max_workers=1), 1)
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        executor: ThreadPoolExecutor = super().get_thread_pool()
        self.requests = PacedPool(executor, self.cfg.threads)
        return executor

    def accept(self, listener: socket.socket) -> None:
        try:
            accepted, client = listener.accept()
        except OSError:  # another worker has taken it, or the client has closed it
            return
        conn = Connection(self.cfg, accepted, client, listener.getsockname())
        self.nr_conns += 1
        self.connections.add(conn)
        if self.nr_conns >= self.worker_connections:
            self._drop_oldest()
        # Most clients have sent their request by now.
        self.on_request_bytes(conn, conn.sock)

    def _wait(
        self,
        conn: Connection,
        callback: Callable[[Connection, socket.socket], None],
        deadline: float,
        event: int = selectors.EVENT_READ,
    ) -> None:
        """Have the loop call back as the socket is ready, and drop the connection after then."""
        self._stop_waiting(conn)
        conn.deadline = deadline
        self.waiting[conn] = None
        self.poller.register(conn.sock, event, partial(callback, conn))

    def _stop_waiting(self, conn: Connection) -> None:
        if conn in self.waiting:
            del self.waiting[conn]
            self.poller.unregister(conn.sock)

    def on_request_bytes(self, conn: Connection, client: socket.socket) -> None:
        """Add what the client sent to its request; give that to a thread if it is whole."""
        data = _receive(client)
        if data == b"":
            self._drop(conn)
            return
        if data:
            conn.buffer.feed(data, time.monotonic())
            conn.deadline = conn.buffer.deadline
        self._continue_request(conn)
        self._limit_memory()

    def _continue_request(self, conn: Connection) -> None:
        if conn.buffer.status is not None:
            self._refuse(conn, conn.buffer.status)
        elif conn.buffer.has_stray_bytes:
            self._refuse(conn, 400)
        elif conn.buffer.whole_bytes is not None:
            self._serve(conn, self._choose_pool(conn))
        elif conn not in self.waiting:
            self._wait(conn, self.on_request_bytes, conn.buffer.deadline)
        if conn.buffer.awaits_continue and not conn.has_sent_continue:
            conn.has_sent_continue = True
            with suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _serve(self, conn: Connection, pool: PacedPool) -> None:
        if pool.is_full:
            self._refuse(conn, 503)
            return
        self._stop_waiting(conn)
        is_deferred = conn.buffer.is_delivery
        size = conn.start_request()
        done = partial(self._defer_finish, conn)
        pool.submit(partial(self.handle, conn), done, size, is_deferred=is_deferred)

    def _choose_pool(self, conn: Connection) -> PacedPool:
        if conn.buffer.path in HEALTH_PATHS:
            return self.health_pool
        if self.requests.is_busy and not self.shell_pool.is_busy and is_from_shell(conn):
            return self.shell_pool
        return self.requests

    def _defer_finish(self, conn: Connection, done: Any) -> None:
        self.method_queue.defer(self.finish_request, conn, done)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Start requests whose turn it is, however long those before them take."""
        pools = (self.requests, self.shell_pool, self.health_pool)
        has_queue = any(pool.has_queue for pool in pools)
        super().wait_for_and_dispatch_events(QUEUE_SECONDS if has_queue else timeout)
        for pool in pools:
            pool.start_due()

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """Send the rest of the answer, then wait for the next request or close."""
        is_kept = not fs.cancelled() and fs.exception() is None and bool(fs.result())
        # Bytes that the parser has left belong to no request that this module has seen.
        is_kept = is_kept and self.alive and not conn.parser.unreader.buf.getvalue()
        self._send_rest(conn, self._next_request if is_kept else self._linger)

    def _send_rest(self, conn: Connection, then: Callable[[Connection], None]) -> None:
        deadline = time.monotonic() + HEAD_SECONDS

        def send(conn: Connection, client: socket.socket) -> None:
            try:
                is_sent = conn.sock.flush()
            except OSError:
                self._drop(conn)
                return
            if is_sent:
                self._stop_waiting(conn)
                then(conn)
            elif conn not in self.waiting:
                self._wait(conn, send, deadline, selectors.EVENT_WRITE)

        send(conn, conn.sock)

    def _next_request(self, conn: Connection) -> None:
        now = time.monotonic()
        self._wait(conn, self.on_request_bytes, now + self.cfg.keepalive)
        if conn.buffer.data:  # sent before the answer to the previous one
            conn.deadline = conn.buffer.deadline
            self._continue_request(conn)

    def _refuse(self, conn: Connection, status: int) -> None:
        conn.sock.pending += _format_refusal(status)
        self._stop_waiting(conn)
        self._send_rest(conn, self._linger)

    def _linger(self, conn: Connection) -> None:
        """Close our end, and the connection once the client has closed its own."""

        def discard(conn: Connection, client: socket.socket) -> None:
            if _receive(client) == b"":
                self._drop(conn)

        with suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        self._wait(conn, discard, time.monotonic() + LINGER_SECONDS)

    def _drop(self, conn: Connection) -> None:
        if conn not in self.connections:  # an event for it came as it was dropped
            return
        self._stop_waiting(conn)
        self.nr_conns -= 1
        self.connections.discard(conn)
        conn.close()

    def _drop_oldest(self) -> bool:
        """Drop the connection that has waited longest; returns whether there was one."""
        conn = next(iter(self.waiting), None)
        if conn is not None:
            self._drop(conn)
        return conn is not None

    def _limit_peers(self, now: float) -> None:
        """Drop the connections that have waited longest of peers that have too many."""
        if len(self.connections) > CONNECTIONS_PER_PEER and now - self.limited_at > PEERS_SECONDS:
            self.limited_at = now
            peers = name_peers(self.connections)
            for conn in choose_excess(peers, self.waiting, CONNECTIONS_PER_PEER):
                self._drop(conn)

    def _limit_memory(self) -> None:
        while sum(conn.kept_bytes for conn in self.waiting) > KEPT_BYTES and self._drop_oldest():
            pass

    def murder_pending(self) -> None:
        """Drop every connection that is past its deadline; gunicorn's loop calls this."""
        now = time.monotonic()
        if now - self.swept_at < SWEEP_SECONDS:
            return
        self.swept_at = now
        for conn in [conn for conn in self.waiting if conn.deadline < now]:
            self._drop(conn)
        self._limit_peers(now)

    def _cap_keepalive(self, deadline: float) -> None:
        """Leave the clients until then: a request may be on its way as the worker stops."""
        for conn in self.waiting:
            conn.deadline = min(conn.deadline, time.monotonic() + STOP_KEEPALIVE_LINGER)

    def murder_keepalived(self, force: bool = False) -> None:
        """Drop the connections that wait, as the worker ends; their deadlines hold until then."""
        if force:
            for conn in list(self.waiting):
                self._drop(conn)


def _receive(client: socket.socket) -> bytes | None:
    """Return what has come: b"" at the end or if the connection is lost, None if nothing has."""
    try:
        return client.recv(READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _format_refusal(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase
    body = json.dumps(
        {"error": REFUSAL_CODES[status], "detail": f"{phrase}: the server reads no more of it."}
    )
    head = f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += "Retry-After: 1\r\n" if status == 503 else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
