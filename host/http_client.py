"""One short question over HTTP to a port of this host, bounded in time and in bytes.

`http.client` bounds each read, not the whole answer, and costs 15 ms to import.
"""

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

LIMIT_BYTES = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r\n)")
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What came back; a body above 64 KiB is cut, the names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def get(port: int, path: str, *, host: str = "127.0.0.1", seconds: float = 5.0) -> Answer:
    """GET `path` from 127.0.0.1; `host` is only what the Host header says.

    Raises OSError (TimeoutError if the whole answer is not there in time) and ValueError if the
    answer is not HTTP.
    """
    deadline = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as link:
        # 1.0: the answer comes whole, and ends with the connection
        request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: */*\r\n\r\n"
        link.sendall(request.encode())
        raw = b""
        while len(raw) < LIMIT_BYTES and not _is_whole(raw):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            link.settimeout(left)
            chunk = link.recv(LIMIT_BYTES)
            if not chunk:
                break
            raw += chunk
    status = STATUS_LINE.match(raw)
    if status is None:
        raise ValueError("the answer is not HTTP")
    head, _, body = raw.partition(b"\r\n\r\n")
    return Answer(int(status[1]), body[:LIMIT_BYTES], _headers(head))


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _is_whole(raw: bytes) -> bool:
    """Say whether the announced length is here: some servers keep the connection all the same."""
    head, end, body = raw.partition(b"\r\n\r\n")
    length = LENGTH.search(head + b"\r\n")
    return bool(end) and length is not None and len(body) >= int(length[1])
