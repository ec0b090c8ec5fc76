"""Whose socket it is: the kernel's word on TCP connections and listeners.

Asked by sock_diag(7) for one exact 4-tuple; where netlink is closed to us, /proc/net/tcp is read.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

ESTABLISHED, LISTEN = 1, 10
TIMEOUT_SECONDS = 2.0
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR = 2
NLM_F_REQUEST = 1
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
# struct inet_diag_req_v2: family, protocol, ext, pad, states, then struct inet_diag_sockid:
# both ports and addresses in network order, interface, cookie.
REQUEST = struct.Struct("=BBBxI2s2s16s16sIQ")
ANSWER = struct.Struct("=BBBB2s2s16s16sI8x5I")  # struct inet_diag_msg, the same id within
NO_COOKIE = 2**64 - 1

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Socket:
    """One TCP socket of the kernel's table; `inode` 0 belongs to no process any more."""

    address: Address
    port: int
    peer: Address
    peer_port: int
    state: int
    uid: int
    inode: int


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
    return [one for one in _table() if one.state == LISTEN and one.port == port]


def inodes(pids: Iterable[int]) -> set[int]:
    """Return the inodes of the sockets these processes hold, as far as we may look."""
    return {inode for pid in pids for inode in _inodes_of(pid)}


def holders(inode: int) -> list[int]:
    """Return the pids that hold that socket, as far as we may look."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return sorted(pid for pid in pids if inode in _inodes_of(pid))


def _ask(client: Address, client_port: int, server: Address, server_port: int) -> Socket | None:
    """Ask the kernel for the client's socket; None if there is none. Raises OSError."""
    family = socket.AF_INET if client.version == 4 else socket.AF_INET6
    body = REQUEST.pack(
        family,
        socket.IPPROTO_TCP,
        0,
        0xFFFFFFFF,
        client_port.to_bytes(2, "big"),
        server_port.to_bytes(2, "big"),
        client.packed.ljust(16, b"\0"),
        server.packed.ljust(16, b"\0"),
        0,
        NO_COOKIE,
    )
    head = HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as link:
        link.settimeout(TIMEOUT_SECONDS)
        link.sendto(head + body, (0, 0))
        answer = link.recv(65536)
    kind = HEADER.unpack_from(answer)[1]
    if kind == NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, HEADER.size)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    return _answer(answer[HEADER.size :])


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
    )


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
