"""The SMTP sink: it accepts what previews send, and delivers nothing.

Each slot has a port, to which only processes of the slot's user can deliver; one more port, for
commands that run for no slot, discards. The supervisor forks this as a process of its own: what a
branch sends costs the worker neither memory nor time, and a sink that dies is replaced.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from django.db import DatabaseError, connections

from host.app.resources.mail import BANNER, HOST
from host.config import Config, SlotConfig
from host.process import socket_owner
from host.process.users import User
from runs.mail import messages

log = logging.getLogger(__name__)

MESSAGE_BYTES = 10 * 1024 * 1024
# The protocol's memory grows with what is sent without a line feed: such a connection is closed.
CONNECTION_BYTES = 2 * MESSAGE_BYTES
CONNECTIONS = 10  # of one port at a time
IDLE_SECONDS = 60.0
RETRY_SECONDS = 2.0  # between attempts to listen on a port that another process holds


class SinkProtocol(SMTP):
    """One connection; it is closed when it sends more than any message may have."""

    def __init__(self, handler: "SinkHandler") -> None:
        super().__init__(
            handler,
            data_size_limit=MESSAGE_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident=BANNER,
            timeout=IDLE_SECONDS,
            # Any user and password: applications log in as production's do.
            authenticator=accept_any_login,
            auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )
        self.open_connections = handler.open_connections
        self.received = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.open_connections.add(self)
        if len(self.open_connections) > CONNECTIONS:
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.open_connections.discard(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > CONNECTION_BYTES and isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
            return
        super().data_received(data)


def accept_any_login(*_: object) -> AuthResult:
    return AuthResult(success=True)


class SinkHandler:
    """What the sink on one port does with a message; without a slot it discards it."""

    def __init__(self, config: Config, slot: SlotConfig | None, store: ThreadPoolExecutor) -> None:
        self.config, self.slot, self.store = config, slot, store
        self.open_connections: set[SinkProtocol] = set()

    async def handle_MAIL(  # noqa: N802 — aiosmtpd's name
        self, server: SinkProtocol, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        """Accept the sender if the connection is a process's that may deliver here."""
        if not is_allowed(find_sender(session, server), list_users(self.config, self.slot)):
            name = self.slot.slot_id if self.slot else "jobs"
            return f"550 5.7.1 Only the processes of {name} may deliver here"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SinkProtocol, session: Session, envelope: Envelope
    ) -> str:
        """Keep the message. It is on the disk when this is answered with 250."""
        server.received = 0
        if self.slot is None:
            return "250 2.0.0 Discarded: this command runs for no preview"
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self.store, partial(keep, self.config, self.slot, envelope)
        )


def keep(config: Config, slot: SlotConfig, envelope: Envelope) -> str:
    """Keep the message for the run that holds the slot; returns the answer to the client."""
    raw = envelope.original_content or b""
    try:
        messages.keep_message(config, slot, envelope.mail_from or "", envelope.rcpt_tos, raw)
    except (DatabaseError, OSError):
        log.exception("a message of %s was not kept", slot.slot_id)
        return "451 4.3.0 The message could not be kept; try again"
    finally:
        connections.close_all()
    return "250 2.0.0 Kept on the run's page"


def find_sender(session: Session, server: SinkProtocol) -> int | None:
    """Return the uid that has the client's end of the connection open; None if unknown."""
    peer = session.peer
    own = server.transport.get_extra_info("sockname") if server.transport else None
    if not isinstance(peer, tuple) or own is None:
        return None
    return socket_owner.find_owner(peer[0], peer[1], own[0], own[1])


def list_users(config: Config, slot: SlotConfig | None) -> list[User | None]:
    """Return the users who may deliver to a slot's sink, or to that of no slot."""
    if slot is not None:
        return [config.slot_user(slot)]
    return [config.job_user, config.precheck_user]


def is_allowed(uid: int | None, users: list[User | None]) -> bool:
    """Return whether that uid may deliver. Without users of their own all are this process's."""
    return uid is not None and uid in {os.geteuid() if one is None else one.uid for one in users}


def run_sink(config: Config) -> None:
    """Serve all ports until SIGTERM."""

    async def serve_until_signal() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await serve(config, stopped)

    asyncio.run(serve_until_signal())


async def serve(
    config: Config, stopped: asyncio.Event, report: Callable[[], object] = lambda: None
) -> None:
    """Serve all ports until `stopped`; `report` is called when each port listens."""
    # One thread: the numbers of a run's messages are given in turn.
    with ThreadPoolExecutor(1) as store:
        waiting = dict(_list_handlers(config, store))
        while not stopped.is_set():
            for port in list(waiting):
                if await _listen(port, waiting[port]):
                    del waiting[port]
            if not waiting:
                report()
            try:
                await asyncio.wait_for(stopped.wait(), RETRY_SECONDS if waiting else None)
            except TimeoutError:
                continue


def _list_handlers(config: Config, store: ThreadPoolExecutor) -> Iterator[tuple[int, SinkHandler]]:
    yield config.discard_port, SinkHandler(config, None, store)
    for slot in config.slots:
        yield slot.mail_port, SinkHandler(config, slot, store)


async def _listen(port: int, handler: SinkHandler) -> bool:
    loop = asyncio.get_running_loop()
    try:
        await loop.create_server(partial(SinkProtocol, handler), HOST, port)
    except OSError as error:
        log.warning("the mail sink cannot listen on port %s: %s", port, error)
        return False
    return True
