"""The HTTP client for this host's own ports: GET, and POST with a JSON body.

`http.client` and `requests` have no limit for the whole answer, only for each read, and cost 15 ms
and 100 to 200 ms to import; a slot's scripts start in less. Requests to other hosts use `requests`.
"""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from host.deadline import Deadline

LIMIT_BYTES = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r\n)")
# A server that keeps the connection open although we speak HTTP/1.0 still sends a length.
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,18})\r\n", re.IGNORECASE)
END_OF_HEAD = b"\r\n\r\n"
# A record of TLS (RFC 8446, section 5.1): type, version, length; its message is of no type. The
# blank line has a server of HTTP answer at once.
TLS_ALERT, TLS_HANDSHAKE = b"\x15", b"\x16"
MALFORMED_HANDSHAKE = TLS_HANDSHAKE + b"\x03\x01\x00\x04\xff\x00\x00\x00\r\n\r\n"


@dataclass(frozen=True)
class Response:
    """A status, a body (perhaps cut at the limit), and headers by their lower-case names."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def get(
    port: int,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    host: str = "",
    seconds: float = 5.0,
    body_seconds: float | None = None,
    limit: int | None = LIMIT_BYTES,
    address: str = "127.0.0.1",
) -> Response:
    """GET `path` from an address of this host; `host` is only the Host header.

    That is 127.0.0.1:`port` by default. The whole answer must arrive within `seconds`; its body is
    cut after `limit` bytes (None: not at all). With `body_seconds` the body is cut so long after
    the head, too: an event stream never ends. Redirects are not followed. Raises OSError
    (TimeoutError after `seconds`) and ValueError if the answer is not HTTP.
    """
    request = _head("GET", path, host, port, {"Accept": "*/*", **(headers or {})})
    return _exchange(port, request, seconds, limit, body_seconds, address)


def post_json(
    port: int,
    path: str,
    value: Any,
    *,
    headers: Mapping[str, str] | None = None,
    host: str = "",
    seconds: float = 5.0,
    limit: int | None = LIMIT_BYTES,
) -> Response:
    """POST `value` as JSON to `path`; parameters and errors as in `get`."""
    body = json.dumps(value).encode()
    described = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    request = _head("POST", path, host, port, {**described, **(headers or {})}) + body
    return _exchange(port, request, seconds, limit)


def speaks_tls(port: int, seconds: float) -> bool:
    """Return whether the server at 127.0.0.1 answers a TLS handshake: then it speaks no plain HTTP.

    The handshake is malformed, which a server answers with an alert (RFC 8446, section 6). It waits
    for `seconds` at most, and never for more than one.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            connection.settimeout(min(seconds, 1.0))
            connection.sendall(MALFORMED_HANDSHAKE)
            return connection.recv(1) in (TLS_ALERT, TLS_HANDSHAKE)
    except OSError:
        return False


def _head(method: str, path: str, host: str, port: int, headers: Mapping[str, str]) -> bytes:
    # HTTP/1.0: the server may not send chunks, and closes the connection after its answer.
    lines = [f"{method} {path} HTTP/1.0", f"Host: {host or f'127.0.0.1:{port}'}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in the path or in a header")
    return "\r\n".join(lines).encode("latin-1") + END_OF_HEAD


def _exchange(
    port: int,
    request: bytes,
    seconds: float,
    limit: int | None,
    body_seconds: float | None = None,
    address: str = "127.0.0.1",
) -> Response:
    deadline = Deadline(seconds)
    with socket.create_connection((address, port), timeout=seconds) as connection:
        connection.sendall(request)
        head, body = _read(connection, deadline, limit, body_seconds)
    status = STATUS_LINE.match(head)
    if status is None:
        raise ValueError("the answer is not HTTP")
    return Response(int(status[1]), body, _parse_headers(head))


def _read(
    connection: socket.socket, deadline: Deadline, limit: int | None, body_seconds: float | None
) -> tuple[bytes, bytes]:
    """Read until the announced length, the limit, `body_seconds` or the end of the connection.

    Some servers keep the connection open even after HTTP/1.0, so the announced length counts.
    """
    raw = bytearray()
    length: int | None = LIMIT_BYTES  # until the head is complete
    head_length = -1
    while length is None or len(raw) < length:
        try:
            chunk = _receive(connection, deadline)
        except TimeoutError:
            if head_length < 0 or body_seconds is None:
                raise
            break
        if not chunk:
            break
        raw += chunk
        if head_length < 0 and (head_length := raw.find(END_OF_HEAD)) >= 0:
            length = _expected_length(bytes(raw[:head_length]), limit)
            if body_seconds is not None:
                deadline = Deadline(min(body_seconds, deadline.seconds_left))
    head, _, body = bytes(raw).partition(END_OF_HEAD)
    return head, body if limit is None else body[:limit]


def _receive(connection: socket.socket, deadline: Deadline) -> bytes:
    if deadline.has_passed:
        raise TimeoutError("timed out")
    # settimeout(0) would make the socket non-blocking.
    connection.settimeout(deadline.seconds_left or 0.001)
    return connection.recv(LIMIT_BYTES)


def _expected_length(head: bytes, limit: int | None) -> int | None:
    """Return how many bytes head and body may have together; None if only the end counts."""
    announced = LENGTH.search(head + b"\r\n")
    lengths = [int(announced[1])] if announced else []
    lengths += [limit] if limit is not None else []
    return len(head) + len(END_OF_HEAD) + min(lengths) if lengths else None


def _parse_headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
