"""The loopback addresses of this host, all of which our own services listen on.

A port of one address family only is free in the other: a program of another user could listen on
`[::1]:3100`, and answer the browsers that ask for `localhost:3100`.
"""

import socket

IPV4, IPV6 = "127.0.0.1", "::1"


def list_loopbacks() -> tuple[str, ...]:
    """Return 127.0.0.1, and ::1 where this host has IPv6."""
    return (IPV4, IPV6) if has_ipv6() else (IPV4,)


def has_ipv6() -> bool:
    """Return whether ::1 can be bound: the kernel may lack IPv6, or have it switched off."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((IPV6, 0))
    except OSError:
        return False
    return True


def format_hosts() -> str:
    """Return them as they stand in URLs and in Caddy's `bind`, separated by blanks."""
    return " ".join(format_host(address) for address in list_loopbacks())


def format_host(address: str) -> str:
    """Return the address as a URL has it: an IPv6 one in brackets."""
    return f"[{address}]" if ":" in address else address
