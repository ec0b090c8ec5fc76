"""Who is at the other end of many connections, and which of them are too many of one peer."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from typing import TypeVar

from host.process import socket_owner
from web.server.connection import Connection

T = TypeVar("T")
INTERNAL_PREFIX = b"/internal/"


def choose_excess(peers: Mapping[T, str], waiting: Iterable[T], limit: int) -> list[T]:
    """Return the connections to drop so that no peer has more than `limit`.

    `peers` has all connections. Only those in `waiting` are dropped, in their order.
    """
    counts, excess = Counter(peers.values()), []
    for connection in waiting:
        peer = peers[connection]
        if counts[peer] > limit:
            counts[peer] -= 1
            excess.append(connection)
    return excess


def name_peers(connections: Collection[Connection]) -> dict[Connection, str]:
    """Return whose each connection is.

    A client on another host is its address, one on this host its user. What root and the service's
    own user run is told apart by its process: the shell, the router, and, where there is one
    user for all, the applications.
    """
    sockets = _find_client_sockets({conn.server[1] for conn in connections if _is_local(conn)})
    ours = {one.inode for one in sockets.values() if one.uid in (0, os.geteuid())}
    holders = socket_owner.map_holders(ours)
    names = {}
    for conn in connections:
        one = sockets.get((ip_address(conn.client[0]), conn.client[1]))
        if not _is_local(conn):
            names[conn] = str(conn.client[0])
        elif one is None:
            names[conn] = "closed"
        else:
            pid = holders.get(one.inode)
            names[conn] = f"uid {one.uid}" if pid is None else f"process {pid}"
    return names


def is_from_shell(conn: Connection) -> bool:
    """Return whether root or the service's own user sent the request, and not by the router.

    That is the operator's shell, as far as applications have users of their own. What the router
    itself asks of /internal/* names no client, and strangers cause it.
    """
    if not _is_local(conn) or b"x-oroboros-client" in conn.buffer.headers:
        return False
    if conn.buffer.path.startswith(INTERNAL_PREFIX):
        return False
    owner = socket_owner.find_owner(*conn.client[:2], *conn.server[:2])
    return owner in (0, os.geteuid())


def _is_local(conn: Connection) -> bool:
    return ip_address(conn.client[0]).is_loopback


def _find_client_sockets(
    ports: Iterable[int],
) -> dict[tuple[socket_owner.Address, int], socket_owner.Socket]:
    found = (one for port in ports for one in socket_owner.list_clients(port))
    return {(one.address, one.port): one for one in found}
