"""Who is at the other end of a request's connection, by the owner of the socket.

The router names the connection of its own client in CLIENT_HEADER. It is believed from our proxies
only, so a program that connects to the router is found as one that connects to the API itself.
"""

import ipaddress
import os
import pwd
import socket
from collections.abc import MutableMapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from django.conf import settings

from host.process import socket_owner

# `address port address port`: of the router's client and of its own end (infra/caddy/Caddyfile).
CLIENT_HEADER = "HTTP_X_OROBOROS_CLIENT"
CLIENT_OWNER = "oroboros.client_owner"  # in the request's META: what `find_client_owner` found
ROUTER_USER = "ouroboros-web"  # under systemd; elsewhere the router runs as the control plane does

Endpoints = tuple[str, int, str, int]


def get_loopback_endpoints(connection: socket.socket) -> Endpoints | None:
    """Return the client's and the server's address and port; None if either is not loopback."""
    try:
        client, server = connection.getpeername(), connection.getsockname()
    except OSError:  # the client closed the connection
        return None
    for end in (client, server):
        if not isinstance(end, tuple) or not ipaddress.ip_address(end[0]).is_loopback:
            return None
    return client[0], client[1], server[0], server[1]


def find_client_owner(meta: MutableMapping[str, Any]) -> int | None:
    """Return the uid that has the client's end of the request's connection open.

    None if that is not certain, or if either end is not loopback. The kernel is queried once for
    each request: the owner of a connection does not change.
    """
    if CLIENT_OWNER not in meta:
        endpoints = get_loopback_endpoints(meta["gunicorn.socket"])
        meta[CLIENT_OWNER] = socket_owner.find_owner(*endpoints) if endpoints is not None else None
    return meta[CLIENT_OWNER]


def is_from_own_proxy(meta: MutableMapping[str, Any]) -> bool:
    """Return whether root, the service's user or the router sent the request.

    Only their X-Forwarded-For is believed. Without a socket there is no server: a test.
    """
    if meta.get("gunicorn.socket") is None:
        return True
    owner = find_client_owner(meta)
    return owner is not None and owner in _get_proxy_uids()


def get_client_address(meta: MutableMapping[str, Any]) -> str:
    """Return the client's address: the last one that is not this host's own.

    Only our own proxies are believed. X-Forwarded-For is read from its end, up to the first foreign
    address. For IPv6 the result is the /64 network: one client has all addresses of it.
    """
    forwarded = meta.get("HTTP_X_FORWARDED_FOR", "") if is_from_own_proxy(meta) else ""
    addresses = [*forwarded.split(","), meta["REMOTE_ADDR"]]
    for text in reversed(addresses):
        address = _parse_address(text)
        if address is None:
            break  # an invalid entry: those before it cannot be trusted
        if not address.is_loopback:
            if address.version == 6:
                return str(ipaddress.ip_network((address, 64), strict=False))
            return str(address)
    return "127.0.0.1"


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address; one of IPv4 that is written as IPv6 (::ffff:…) is that of IPv4."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_from_application(meta: MutableMapping[str, Any]) -> bool:
    """Return whether an application sent the request, directly or through the router.

    True also if the socket is closed already: an application could send a stolen cookie and close
    its socket before the kernel is queried. Applications have users of their own only as root or
    under systemd.
    """
    uids = settings.OROBOROS.application_uids
    if meta.get("gunicorn.socket") is None or not uids:
        return False
    if not ipaddress.ip_address(meta["REMOTE_ADDR"]).is_loopback:
        return False
    owner = find_client_owner(meta)
    if owner is None or owner in uids:
        return True
    client = meta.get(CLIENT_HEADER) if owner in _get_proxy_uids() else None
    return client is not None and _is_application_client(client, uids)


def _is_application_client(text: str, uids: AbstractSet[int]) -> bool:
    endpoints = parse_client(text)
    if endpoints is None or not ipaddress.ip_address(endpoints[0]).is_loopback:
        return False
    owner = socket_owner.find_owner(*endpoints)
    return owner is None or owner in uids


def parse_client(text: str) -> Endpoints | None:
    """Return the endpoints in the value of CLIENT_HEADER; None if it is none."""
    words = text.split()
    try:
        address, port, own_address, own_port = words
        ipaddress.ip_address(address)
        ipaddress.ip_address(own_address)
        return address, int(port), own_address, int(own_port)
    except ValueError:
        return None


@cache
def _get_proxy_uids() -> frozenset[int]:
    uids = {0, os.geteuid()}
    if settings.OROBOROS.is_systemd:
        uids |= {user.pw_uid for user in pwd.getpwall() if user.pw_name == ROUTER_USER}
    return frozenset(uids)
