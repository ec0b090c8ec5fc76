"""Keeps a process from connecting to private networks, whichever library connects.

An audit hook of Python (PEP 578) gets each address when a socket is connected to it: after its name
was resolved, and again after each redirect. So a name that resolves to another address the second
time, or a redirect, leads nowhere else than the first request.
"""

import ipaddress
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")
# Besides connecting, these effects are refused: starting programs, and the system's log.
OTHER_EFFECTS = ("subprocess.Popen", "os.exec", "os.system", "os.posix_spawn", "os.fork")
LOCAL_LOG = "syslog."
DISCARD_PORT = 9


class AddressRefused(OSError):
    """The notification's address is not one that notifications may be sent to."""


@dataclass(frozen=True)
class Policy:
    """`networks`: private ones that are allowed. `own_ports`: the control plane's, never."""

    networks: tuple[Network, ...] = ()
    own_ports: frozenset[int] = frozenset()


@dataclass
class Guard:
    """The policy, and what it has refused so far: libraries hide the reason of an error."""

    policy: Policy
    refusals: list[str] = field(default_factory=list)
    is_looking: bool = False

    def check_event(self, event: str, arguments: Sequence[Any]) -> None:
        """Raise AddressRefused for an event of Python that the policy does not allow."""
        if event in OTHER_EFFECTS or event.startswith(LOCAL_LOG):
            self._refuse("Notifications go over the network only.")
        if event in SENDS and not self.is_looking and arguments[1] is not None:
            self._check_address(arguments[0].family, arguments[1])

    def _check_address(self, family: int, address: Any) -> None:
        if family not in (socket.AF_INET, socket.AF_INET6):
            self._refuse("Notifications go over the network only.")
        host, port = address[0], address[1]
        try:
            ip = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:  # a name: who would resolve it is not known
            self._refuse(f"{host!r} is not an address.")
        if reason := find_reason_against(ip, port, self.policy, is_own=self._is_own(family, host)):
            self._refuse(reason)

    def _is_own(self, family: int, host: str) -> bool:
        """Return whether it is an address of this host, by the route that the kernel would take."""
        self.is_looking = True
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((host, DISCARD_PORT))  # of a datagram socket: nothing is sent
                return bool(probe.getsockname()[0] == host)
        except OSError:  # no route: the connection itself will fail
            return False
        finally:
            self.is_looking = False

    def _refuse(self, reason: str) -> None:
        self.refusals.append(reason)
        raise AddressRefused(reason)


def install(policy: Policy) -> Guard:
    """Guard this process until it ends: an audit hook cannot be removed."""
    guard = Guard(policy)
    sys.addaudithook(guard.check_event)
    return guard


def find_reason_against(ip: Address, port: int, policy: Policy, *, is_own: bool) -> str:
    """Return why nothing may be sent to the address, as a sentence; "" if it may.

    `is_own`: it is an address of this host.
    """
    real = unwrap(ip)
    if (is_own or real.is_loopback or real.is_unspecified) and port in policy.own_ports:
        return f"{ip} port {port} is the control plane."
    if any(real in network for network in policy.networks if network.version == real.version):
        return ""
    if is_own or not is_public(real):
        return f"{ip} is not a public address; NOTIFICATION_NETWORKS does not have its network."
    return ""


def is_public(ip: Address) -> bool:
    """Return whether the address is one of the internet, and of one receiver."""
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or is_site_local)


def unwrap(ip: Address) -> Address:
    """Return the IPv4 address within an IPv6 address that leads to it, else the address."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)
