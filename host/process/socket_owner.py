"""Whose socket it is: the kernel's word on TCP connections and listeners.

Asked by sock_diag(7) for one exact 4-tuple; where netlink is closed to us, /proc/net/tcp is read.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

ESTABLISHED, LISTEN = 1, 10
FAMILIES = (socket.AF_INET, socket.AF_INET6)
ANY = IPv4Address(0)
TIMEOUT_SECONDS = 2.0
BUFFER_BYTES = 64 * 1024
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
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
    """One TCP socket of the kernel's table; `inode` 0 belongs to no process any more.

    `cgroup` is the inode of the cgroup (v2) it was made in; None where the kernel does not say.
    """

    address: Address
    port: int
    peer: Address
    peer_port: int
    state: int
    uid: int
    inode: int
    cgroup: int | None = None


def owner(
    client_address: str, client_port: int, server_address: str, server_port: int
) -> int | None:
    """Return the uid that holds the client's end of a connection; None if nobody surely does.

    Nobody: the exact 4-tuple is not there, not ESTABLISHED, or its inode is 0: the client has
    closed it, and the kernel then shows uid 0.
    """
    wanted = (_address(client_address), client_port, _address(server_address), server_port)
    try:
        found = _ask(*wanted)
    except OSError:
        found = next((one for one in _table() if _tuple(one) == wanted), None)
    if found is None or _tuple(found) != wanted:
        return None
    return found.uid if found.state == ESTABLISHED and found.inode else None


def listeners(port: int) -> list[Socket]:
    """Return every socket that listens on that TCP port, on whatever address."""
    try:
        found = [one for family in FAMILIES for one in _ask_all(family, 1 << LISTEN)]
    except OSError:
        found = [one for one in _table() if one.state == LISTEN]
    return [one for one in found if one.port == port]


def inodes(pids: Iterable[int]) -> set[int]:
    """Return the inodes of the sockets these processes hold, as far as we may look."""
    return {inode for pid in pids for inode in _inodes_of(pid)}


def holders(inode: int) -> list[int]:
    """Return the pids that hold that socket, as far as we may look."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return sorted(pid for pid in pids if inode in _inodes_of(pid))


def _ask(client: Address, client_port: int, server: Address, server_port: int) -> Socket | None:
    """Ask the kernel for the client's socket; None if there is none. Raises OSError."""
    family = FAMILIES[client.version == 6]
    request = _request(family, 0xFFFFFFFF, client, client_port, server, server_port)
    try:
        return next(_answers(request, NLM_F_REQUEST))
    except FileNotFoundError:  # the kernel's word for a connection that is not there
        return None


def _ask_all(family: int, states: int) -> Iterator[Socket]:
    """Ask the kernel for every socket in one of these states. Raises OSError."""
    return _answers(_request(family, states, ANY, 0, ANY, 0), NLM_F_REQUEST | NLM_F_DUMP)


def _request(
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


def _answers(request: bytes, flags: int) -> Iterator[Socket]:
    """Send the request and yield each socket of the answer; one alone, or a dump to its end."""
    head = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as link:
        link.settimeout(TIMEOUT_SECONDS)
        link.sendto(head + request, (0, 0))
        while True:
            answer = link.recv(BUFFER_BYTES)
            while len(answer) >= HEADER.size:
                length, kind, *_ = HEADER.unpack_from(answer)
                body, answer = answer[HEADER.size : length], answer[_aligned(length) :]
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise OSError(code, os.strerror(code))
                yield _answer(body)


def _answer(body: bytes) -> Socket:
    family, state, _, _, port, peer_port, address, peer, *rest = ANSWER.unpack_from(body)
    size = 4 if family == socket.AF_INET else 16
    return Socket(
        _plain(ip_address(address[:size])),
        int.from_bytes(port, "big"),
        _plain(ip_address(peer[:size])),
        int.from_bytes(peer_port, "big"),
        state,
        uid=rest[-2],
        inode=rest[-1],
        cgroup=_cgroup(body[ANSWER.size :]),
    )


def _cgroup(attributes: bytes) -> int | None:
    while len(attributes) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if kind == INET_DIAG_CGROUP_ID:
            return int.from_bytes(attributes[ATTRIBUTE.size : length], sys.byteorder)
        attributes = attributes[max(_aligned(length), ATTRIBUTE.size) :]
    return None


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _table() -> Iterator[Socket]:
    """Read /proc/net/tcp and tcp6; the latter is not there without IPv6."""
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            address, port = _hex_address(fields[1])
            peer, peer_port = _hex_address(fields[2])
            state, uid, inode = int(fields[3], 16), int(fields[7]), int(fields[9])
            yield Socket(address, port, peer, peer_port, state, uid, inode)


def _hex_address(text: str) -> tuple[Address, int]:
    """Parse `0100007F:1F90`: words of four bytes, each in the byte order of the machine."""
    digits, _, port = text.partition(":")
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    return _plain(ip_address(struct.pack(f"={len(words)}I", *words))), int(port, 16)


def _tuple(one: Socket) -> tuple[Address, int, Address, int]:
    return one.address, one.port, one.peer, one.peer_port


def _address(text: str) -> Address:
    return _plain(ip_address(text.partition("%")[0]))


def _plain(address: Address) -> Address:
    """Return an IPv4 address that is written as an IPv6 one as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _inodes_of(pid: int) -> set[int]:
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(entry.readlink())
            except FileNotFoundError:  # closed between the two looks
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return found
