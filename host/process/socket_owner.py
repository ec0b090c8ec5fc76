"""The owners of TCP connections and listeners, as the kernel knows them.

They are read with sock_diag(7); where a sandbox closes netlink to us, from /proc/net/tcp.
"""

import os
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

ESTABLISHED, LISTEN = 1, 10
# Bound, and neither listening nor connected: Linux 6.8 and later report such sockets when they are
# asked for the state BOUND, and then as CLOSE.
CLOSE, BOUND = 7, 13
# Of a process that has it open: bound, connecting, connected, half closed or listening.
OPEN_STATES = (ESTABLISHED, 2, 3, 4, 5, 8, 9, LISTEN, 11, BOUND)
# What is left of a connection that a process has closed. In the first three data may be on its way.
FIN_WAIT1, LAST_ACK, CLOSING, FIN_WAIT2, TIME_WAIT = 4, 9, 11, 5, 6
TCP, UDP = "TCP", "UDP"
FAMILIES = (socket.AF_INET, socket.AF_INET6)
ACCEPTS_CONNECTIONS = 0x10000
LOCAL_PORTS_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
DEFAULT_LOCAL_PORTS = range(32768, 61000)
ANY = IPv4Address(0)
TIMEOUT_SECONDS = 2.0  # the kernel answers at once; a sandbox may drop the request
BUFFER_BYTES = 64 * 1024
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
SOCK_DESTROY = 21
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
INET_DIAG_CGROUP_ID = 21
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
# struct inet_diag_req_v2: family, protocol, ext, pad, states, then struct inet_diag_sockid:
# both ports and addresses in network order, interface, cookie.
REQUEST = struct.Struct("=BBBxI2s2s16s16sIQ")
ANSWER = struct.Struct("=BBBB2s2s16s16sI8x5I")  # struct inet_diag_msg, the same id within
ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
NO_COOKIE = 2**64 - 1

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Socket:
    """One TCP socket of the kernel's table; with `inode` 0 no process has it open any more.

    `cgroup` is the inode of the cgroup (v2) it was created in; None if the kernel does not report
    it.
    """

    address: Address
    port: int
    peer: Address
    peer_port: int
    state: int
    uid: int
    inode: int
    cgroup: int | None = None


def find_owner(
    client_address: str, client_port: int, server_address: str, server_port: int
) -> int | None:
    """Return the uid that has the client's end of a connection open; None if that is not certain.

    It is not if the exact 4-tuple does not exist, is not ESTABLISHED, or has inode 0: the client
    has closed it, and the kernel then reports uid 0.
    """
    four_tuple = (
        _parse_address(client_address),
        client_port,
        _parse_address(server_address),
        server_port,
    )
    try:
        connection = _query_socket(*four_tuple)
    except OSError:
        connection = next(
            (entry for entry in _read_proc_net() if _four_tuple(entry) == four_tuple), None
        )
    if connection is None or _four_tuple(connection) != four_tuple:
        return None
    return connection.uid if connection.state == ESTABLISHED and connection.inode else None


def list_listeners(port: int | None = None) -> list[Socket]:
    """Return every socket that listens on that TCP port, on any address; of all ports if None."""
    return [entry for entry in _list_in_state(LISTEN) if port in (None, entry.port)]


def list_open_sockets() -> list[Socket]:
    """Return every TCP socket that a process has open and that has a port of this host.

    Also one that is only bound, where the kernel reports it: nothing else can use its port.
    """
    return [entry for entry in _list_in_states(OPEN_STATES) if entry.inode]


def list_udp_sockets() -> list[Socket]:
    """Return every UDP socket that has a port of this host; `state` is the kernel's own of it."""
    return list(_read_proc_net("udp", "udp6"))


def count_sockets() -> dict[str, int]:
    """Return how many TCP sockets were made and how many UDP sockets have a port, by protocol.

    The TCP sockets are those of the whole kernel. Source: sockstat of proc_pid_net(5). It takes
    microseconds, whatever their number is. Empty where a sandbox does not show it.
    """
    counts = {}
    for name in ("sockstat", "sockstat6"):  # the latter does not exist without IPv6
        with suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines():
                kind, *words = line.split()
                counts[kind] = dict(zip(words[::2], map(int, words[1::2]), strict=False))
    if "TCP:" not in counts:
        return {}
    udp = sum(counts.get(kind, {}).get("inuse", 0) for kind in ("UDP:", "UDP6:"))
    return {TCP: counts["TCP:"].get("alloc", 0), UDP: udp}


def read_local_ports() -> range:
    """Return the ports from which programs connect, and which they get for port 0 (ip(7)).

    The kernel's default where a sandbox does not show the setting.
    """
    try:
        first, last = map(int, LOCAL_PORTS_FILE.read_text().split())
    except OSError:
        return DEFAULT_LOCAL_PORTS
    return range(first, last + 1)


def list_unix_listeners(inodes: Collection[int]) -> list[str]:
    """Return the addresses of those of these sockets that are Unix sockets and listen.

    Source: proc_pid_net(5), /proc/net/unix; the flag is __SO_ACCEPTCON.
    """
    rows = (row.split(maxsplit=7) for row in Path("/proc/net/unix").read_text().split("\n")[1:])
    return [
        row[7]
        for row in rows
        if len(row) == 8 and int(row[3], 16) & ACCEPTS_CONNECTIONS and int(row[6]) in inodes
    ]


def list_unix_inodes() -> set[int]:
    """Return the inodes of all Unix sockets; empty where a sandbox does not show them."""
    try:
        rows = Path("/proc/net/unix").read_text().split("\n")[1:]
    except OSError:
        return set()
    return {int(row.split(maxsplit=7)[6]) for row in rows if row}


def count_connections(port: int) -> int:
    """Return how many established connections to that TCP port of this host there are."""
    return sum(entry.port == port for entry in _list_in_state(ESTABLISHED))


def list_clients(port: int) -> list[Socket]:
    """Return the clients' ends of the established connections to that TCP port of this host."""
    return [entry for entry in _list_in_state(ESTABLISHED) if entry.peer_port == port]


def list_closing(port: int) -> list[Socket]:
    """Return what is left of connections to that TCP port of this host after they were closed."""
    states = (FIN_WAIT1, LAST_ACK, CLOSING, FIN_WAIT2, TIME_WAIT)
    return [entry for entry in _list_in_states(states) if entry.port == port and not entry.inode]


def destroy(connection: Socket) -> bool:
    """Remove what is left of a connection; returns whether the kernel did. Only root may."""
    ends = (connection.address, connection.port, connection.peer, connection.peer_port)
    request = _build_request(FAMILIES[connection.address.version == 6], 0xFFFFFFFF, *ends)
    try:
        next(_exchange(request, NLM_F_REQUEST | NLM_F_ACK, SOCK_DESTROY), None)
    except OSError:  # also a kernel without CONFIG_INET_DIAG_DESTROY
        return False
    return True


def list_inodes(pids: Iterable[int]) -> set[int]:
    """Return the inodes of the sockets that these processes have open, if we may read them."""
    return {inode for pid in pids for inode in _read_inodes(pid)}


def find_holders(*inodes: int) -> list[int]:
    """Return the pids that have one of these sockets open, if we may read their descriptors."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return sorted(pid for pid in pids if not _read_inodes(pid).isdisjoint(inodes))


def map_holders(inodes: AbstractSet[int]) -> dict[int, int]:
    """Return the pid that has each of these sockets open, by inode, as far as we may read that.

    Of several, as after a fork, any.
    """
    if not inodes:
        return {}
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return {inode: pid for pid in pids for inode in _read_inodes(pid) & inodes}


def _list_in_state(state: int) -> list[Socket]:
    return _list_in_states((state,))


def _list_in_states(states: Collection[int]) -> list[Socket]:
    mask = sum(1 << state for state in states)
    try:
        return [entry for family in FAMILIES for entry in _query_sockets(family, mask)]
    except OSError:
        return [entry for entry in _read_proc_net() if entry.state in states]


def _query_socket(
    client: Address, client_port: int, server: Address, server_port: int
) -> Socket | None:
    """Query the kernel for the client's socket; None if there is none. Raises OSError."""
    family = FAMILIES[client.version == 6]
    request = _build_request(family, 0xFFFFFFFF, client, client_port, server, server_port)
    try:
        return next(_exchange(request, NLM_F_REQUEST))
    except FileNotFoundError:  # ENOENT: there is no such connection
        return None


def _query_sockets(family: int, states: int) -> Iterator[Socket]:
    """Query the kernel for every socket in one of these states. Raises OSError."""
    return _exchange(_build_request(family, states, ANY, 0, ANY, 0), NLM_F_REQUEST | NLM_F_DUMP)


def _build_request(
    family: int, states: int, address: Address, port: int, peer: Address, peer_port: int
) -> bytes:
    return REQUEST.pack(
        family,
        socket.IPPROTO_TCP,
        0,
        states,
        port.to_bytes(2, "big"),
        peer_port.to_bytes(2, "big"),
        address.packed.ljust(16, b"\0"),
        peer.packed.ljust(16, b"\0"),
        0,
        NO_COOKIE,
    )


def _exchange(request: bytes, flags: int, kind: int = SOCK_DIAG_BY_FAMILY) -> Iterator[Socket]:
    """Send the request and yield the sockets of the answer: one, all of a dump, or none."""
    head = HEADER.pack(HEADER.size + len(request), kind, flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as link:
        link.settimeout(TIMEOUT_SECONDS)
        link.sendto(head + request, (0, 0))
        while True:
            answer = link.recv(BUFFER_BYTES)
            while len(answer) >= HEADER.size:
                length, answered, *_ = HEADER.unpack_from(answer)
                body, answer = answer[HEADER.size : length], answer[_align(length) :]
                if answered == NLMSG_DONE:
                    return
                if answered == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    if code == 0:  # the acknowledgement that NLM_F_ACK asks for
                        return
                    raise OSError(code, os.strerror(code))
                yield _parse_socket(body)


def _parse_socket(body: bytes) -> Socket:
    family, state, _, _, port, peer_port, address, peer, *rest = ANSWER.unpack_from(body)
    size = 4 if family == socket.AF_INET else 16
    return Socket(
        _unmap(ip_address(address[:size])),
        int.from_bytes(port, "big"),
        _unmap(ip_address(peer[:size])),
        int.from_bytes(peer_port, "big"),
        state,
        uid=rest[-2],
        inode=rest[-1],
        cgroup=_parse_cgroup(body[ANSWER.size :]),
    )


def _parse_cgroup(attributes: bytes) -> int | None:
    while len(attributes) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if kind == INET_DIAG_CGROUP_ID:
            return int.from_bytes(attributes[ATTRIBUTE.size : length], sys.byteorder)
        attributes = attributes[max(_align(length), ATTRIBUTE.size) :]
    return None


def _align(length: int) -> int:
    # Netlink pads messages and attributes to multiples of 4 bytes (NLMSG_ALIGN).
    return (length + 3) & ~3


def _read_proc_net(*names: str) -> Iterator[Socket]:
    """Read such files as /proc/net/tcp and tcp6; the latter does not exist without IPv6."""
    for name in names or ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            address, port = _parse_hex_address(fields[1])
            peer, peer_port = _parse_hex_address(fields[2])
            state, uid, inode = int(fields[3], 16), int(fields[7]), int(fields[9])
            yield Socket(address, port, peer, peer_port, state, uid, inode)


def _parse_hex_address(text: str) -> tuple[Address, int]:
    """Parse `0100007F:1F90`: words of four bytes, each in the byte order of the host."""
    digits, _, port = text.partition(":")
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    return _unmap(ip_address(struct.pack(f"={len(words)}I", *words))), int(port, 16)


def _four_tuple(entry: Socket) -> tuple[Address, int, Address, int]:
    return entry.address, entry.port, entry.peer, entry.peer_port


def _parse_address(text: str) -> Address:
    return _unmap(ip_address(text.partition("%")[0]))


def _unmap(address: Address) -> Address:
    """Return the IPv4 address of an IPv4-mapped IPv6 address, other addresses as they are."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _read_inodes(pid: int) -> set[int]:
    try:
        targets = [_read_target(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return set()
    return {int(target[8:-1]) for target in targets if target.startswith("socket:[")}


def _read_target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        # Closed since it was listed, or a file whose path is longer than a page: then readlink(2)
        # fails with ENAMETOOLONG. A socket's name is short, so it is none.
        return ""
