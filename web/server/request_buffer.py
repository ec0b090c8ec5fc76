"""Collects the bytes of a request until it is whole, and says until when it has to be.

It decides only where a request ends. What the request means, and whether it is well formed, decides
the server's parser, which gets these bytes and no others.
"""

import re
from dataclasses import dataclass, field

HEAD_BYTES = 64 * 1024
BODY_BYTES = 1024 * 1024
# GitHub's limit for what a webhook sends; all that is kept at once has the worker's own limit.
HOOK_PREFIX, HOOK_BODY_BYTES = b"/hooks/", 25 * 1024 * 1024
# From the first byte to the end of the head; then for the body, at this rate at least.
HEAD_SECONDS = 10.0
BODY_SECONDS = 10.0
BYTES_PER_SECOND = 2048
LINE_BYTES = 4096  # of a chunk's size with its extensions
END_OF_HEAD, END_OF_LINE = b"\r\n\r\n", b"\r\n"
HEX = re.compile(rb"[0-9A-Fa-f]{1,8}\Z")
DIGITS = re.compile(rb"[0-9]{1,18}\Z")


@dataclass
class RequestBuffer:
    """The bytes of one request, and of those that the client sent after it.

    `whole_bytes` is where the request ends, once it is known to be whole. `status` is 413 or 431 if
    it is larger than allowed, 501 for a transfer coding other than chunks, else None. `started_at`
    and `head_at` are times of `time.monotonic`.
    """

    started_at: float
    data: bytearray = field(default_factory=bytearray)
    whole_bytes: int | None = None
    status: int | None = None
    head_bytes: int | None = None
    head_at: float = 0.0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    _chunk_at: int = 0  # where the next chunk's size, or the trailer, begins
    _in_trailer: bool = False

    def feed(self, data: bytes, at: float) -> None:
        """Add what the client sent, at this time."""
        if not self.data:
            self.started_at = at
        self.data += data
        if self.whole_bytes is None and self.status is None:
            self._advance(len(data), at)

    def take(self, at: float) -> tuple[bytes, "RequestBuffer"]:
        """Return the whole request, and the buffer of the next one with what came after it."""
        request, rest = bytes(self.data[: self.whole_bytes]), bytes(self.data[self.whole_bytes :])
        following = RequestBuffer(at)
        if rest:
            following.feed(rest, at)
        return request, following

    @property
    def has_stray_bytes(self) -> bool:
        """Whether what came after the whole request cannot be the next one.

        Then the client meant it as a part of this request, whose end it has stated wrongly.
        """
        if self.whole_bytes is None or len(self.data) <= self.whole_bytes:
            return False
        first = self.data[self.whole_bytes : self.whole_bytes + 1]
        return not (first.isalpha() and first.isupper()) and first not in b"\r\n"

    @property
    def deadline(self) -> float:
        """Until when the request has to be whole; every part of the body that comes extends it."""
        if self.head_bytes is None:
            return self.started_at + HEAD_SECONDS
        body_bytes = len(self.data) - self.head_bytes
        return self.head_at + BODY_SECONDS + body_bytes / BYTES_PER_SECOND

    @property
    def awaits_continue(self) -> bool:
        """Whether the client sends its body only after `100 Continue`."""
        return (
            self.whole_bytes is None
            and self.head_bytes is not None
            and self.headers.get(b"expect", b"").lower() == b"100-continue"
        )

    @property
    def path(self) -> bytes:
        """The path of the request line, without a query."""
        parts = self.data.split(b"\r\n", 1)[0].split(b" ", 2)
        return bytes(parts[1].split(b"?", 1)[0]) if len(parts) == 3 else b""

    @property
    def is_delivery(self) -> bool:
        """Whether a forge sends it: no person waits for the answer."""
        return self.path.startswith(HOOK_PREFIX)

    @property
    def _body_limit(self) -> int:
        return HOOK_BODY_BYTES if self.is_delivery else BODY_BYTES

    def _advance(self, added: int, at: float) -> None:
        if self.head_bytes is None:
            self._find_head(added, at)
        if self.head_bytes is not None:
            self._find_end(self.head_bytes)

    def _find_head(self, added: int, at: float) -> None:
        start = max(0, len(self.data) - added - len(END_OF_HEAD))
        end = self.data.find(END_OF_HEAD, start, HEAD_BYTES)
        if end >= 0:
            self.head_bytes = self._chunk_at = end + len(END_OF_HEAD)
            self.head_at = at
            self.headers = _parse_headers(bytes(self.data[:end]))
        elif len(self.data) >= HEAD_BYTES:
            self.status = 431

    def _find_end(self, head_bytes: int) -> None:
        length = self.headers.get(b"content-length", b"0")
        coding = self.headers.get(b"transfer-encoding", b"").lower()
        if b"transfer-encoding" in self.headers and coding != b"chunked":
            # The parser takes some of them for chunks, which it would find nowhere.
            self.status = 501
        elif coding and b"content-length" in self.headers:
            self.whole_bytes = head_bytes  # the parser refuses it without its body
        elif coding:
            self._read_chunks(head_bytes)
        elif not DIGITS.match(length):
            self.whole_bytes = head_bytes
        elif int(length) > self._body_limit:
            self.status = 413
        elif len(self.data) >= head_bytes + int(length):
            self.whole_bytes = head_bytes + int(length)

    def _read_chunks(self, head_bytes: int) -> None:
        while self.whole_bytes is None and not self._in_trailer:
            newline = self.data.find(b"\n", self._chunk_at, self._chunk_at + LINE_BYTES)
            if newline < 0:
                if len(self.data) - self._chunk_at >= LINE_BYTES:
                    self.whole_bytes = len(self.data)
                break
            line = bytes(self.data[self._chunk_at : newline + 1])
            if line.endswith(END_OF_LINE):
                self._begin_chunk(line.removesuffix(END_OF_LINE), newline + 1)
            else:
                self.whole_bytes = newline + 1  # the parser refuses it
        if self._in_trailer:
            self._read_trailer()
        if max(self._chunk_at, len(self.data)) - head_bytes > 2 * self._body_limit:
            self.whole_bytes, self.status = None, 413

    def _begin_chunk(self, line: bytes, at: int) -> None:
        size = line.split(b";", 1)[0].strip()
        if not HEX.match(size):
            self.whole_bytes = at  # the parser refuses it
        elif int(size, 16) == 0:
            self._in_trailer, self._chunk_at = True, at
        else:
            self._chunk_at = at + int(size, 16) + len(END_OF_LINE)

    def _read_trailer(self) -> None:
        if self.data.startswith(END_OF_LINE, self._chunk_at):
            self.whole_bytes = self._chunk_at + len(END_OF_LINE)
            return
        end = self.data.find(END_OF_HEAD, self._chunk_at, self._chunk_at + HEAD_BYTES)
        if end >= 0:
            self.whole_bytes = end + len(END_OF_HEAD)
        elif len(self.data) - self._chunk_at >= HEAD_BYTES:
            self.status = 431


def _parse_headers(head: bytes) -> dict[bytes, bytes]:
    """Return the fields by lower-case name; those that occur twice are joined by a comma."""
    headers: dict[bytes, bytes] = {}
    for line in head.split(END_OF_LINE)[1:]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        headers[name] = b", ".join([headers[name], value]) if name in headers else value
    return headers
