"""Answers with a file that may still grow. Browsers never render it, and secrets are masked."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, BinaryIO

from django.conf import settings
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from host.errors import Refused
from host.masking.known_secrets import read_masks
from web.logs import lines as log_lines
from web.logs.lines import LineStart

RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
OFFSET = re.compile(r"-?\d{1,15}", re.ASCII)
COUNT = re.compile(r"[1-9]\d{0,3}", re.ASCII)
CHUNK = 64 * 1024
PAGE_BYTES = 1024 * 1024  # of a page of lines, which may be long
FOUND_LIMIT = 2000
TEXT_CHARACTERS = 200
PARAMETERS = [
    OpenApiParameter(
        "from", int, description="offset of the first byte; negative: that many bytes from the end"
    ),
    OpenApiParameter(
        "line",
        int,
        description="number of the first line; negative: that many lines from the end. The "
        "header `X-Oroboros-Line` of the answer has its number",
    ),
    OpenApiParameter(
        "lines",
        int,
        description=f"at most that many lines (to 9999), and at most {PAGE_BYTES} bytes",
    ),
    OpenApiParameter(
        "grep",
        str,
        description=f"only lines that have this text, at most {FOUND_LIMIT}, each with its number "
        "and a colon before it",
    ),
    OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="a single byte range"),
]
# 206 and 416: with a Range.
RESPONSES = {(status, "text/plain"): OpenApiTypes.STR for status in (200, 206, 416)}


def answer_log(request: Request, file: IO[bytes], name: str) -> StreamingHttpResponse:
    """Return the part of the file that the query asks for, as a download of that name.

    To follow a growing log, a client repeats the request with `from` set to the value of the
    answer's header `X-Oroboros-Next`. `X-Oroboros-File` differs once another file has its name.
    Raises Refused `from_invalid`, `line_invalid`, `lines_invalid`, `grep_invalid` (400).
    """
    query = request.query_params
    try:
        offset = _read_number(query.get("from", ""), "from", OFFSET, "a number of bytes")
        line = _read_number(query.get("line", ""), "line", OFFSET, "the number of a line")
        count = _read_number(query.get("lines", ""), "lines", COUNT, "from 1 to 9999")
        text = query.get("grep", "")
        if len(text) > TEXT_CHARACTERS:
            raise Refused(
                "grep_invalid", f"`grep` has at most {TEXT_CHARACTERS} characters.", status=400
            )
    except Refused:
        file.close()
        raise
    if text:
        found = islice(log_lines.search_lines(_read_all(file), text), FOUND_LIMIT)
        return _describe(StreamingHttpResponse(_format_found(file, found)), name)
    if line is not None or count is not None:
        return _stream_lines(file, name, offset or 0, line, count)
    byte_range = "" if offset is not None else request.META.get("HTTP_RANGE", "")
    return stream_file(file, name, byte_range, offset or 0)


def _read_number(raw: str, name: str, form: re.Pattern[str], meaning: str) -> int | None:
    if raw and not form.fullmatch(raw):
        raise Refused(f"{name}_invalid", f"`{name}` must be {meaning}.", status=400)
    return int(raw) if raw else None


def _format_found(file: IO[bytes], found: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    with file:
        for number, line in found:
            yield b"%d:%s\n" % (number, line)


def _stream_lines(
    file: IO[bytes], name: str, offset: int, line: int | None, count: int | None
) -> StreamingHttpResponse:
    """Stream at most `count` lines from the line, or from the byte `offset`."""
    size = os.fstat(file.fileno()).st_size
    if line is None:
        start = LineStart(0, min(offset, size) if offset >= 0 else max(0, size + offset))
    else:
        if line < 1:
            line = max(1, log_lines.count_lines(_read_all(file)) + line + 1)
        start = log_lines.find_line(_read_all(file), line)
    end = size
    if count is not None:
        end = min(size, start.offset + PAGE_BYTES)
        file.seek(start.offset)
        chunks = _read_chunks(file, end - start.offset)
        end = start.offset + log_lines.find_line(chunks, count + 1).offset
    answer = _stream(file, start.offset, end, size)
    if line is not None:
        answer["X-Oroboros-Line"] = str(start.number)
    return _describe(answer, name)


def stream_file(
    file: IO[bytes], name: str, byte_range: str, offset: int = 0
) -> StreamingHttpResponse:
    """Stream the file from `offset`, or the requested range of it (206, or 416 if it is empty)."""
    size = os.fstat(file.fileno()).st_size
    span = _parse_range(byte_range, size)
    start, end = span or (min(offset, size) if offset >= 0 else max(0, size + offset), size)
    if span and start >= end:
        start = end = 0
        answer = _stream(file, 0, 0, size, status=416)
    else:
        answer = _stream(file, start, end, size, status=206 if span else 200)
    answer["Accept-Ranges"] = "bytes"
    if span:
        answer["Content-Range"] = f"bytes {f'{start}-{end - 1}' if end else '*'}/{size}"
    return _describe(answer, name)


def _stream(
    file: IO[bytes], start: int, end: int, size: int, status: int = 200
) -> StreamingHttpResponse:
    file.seek(start)
    identity = os.fstat(file.fileno()).st_ino
    answer = StreamingHttpResponse(_read_and_close(file, end - start), status=status)
    answer["Content-Length"] = str(end - start)
    answer["X-Oroboros-Next"] = str(end)
    answer["X-Oroboros-Size"] = str(size)
    answer["X-Oroboros-File"] = f"{identity:x}"
    return answer


def _describe(answer: StreamingHttpResponse, name: str) -> StreamingHttpResponse:
    answer["Content-Type"] = "text/plain; charset=utf-8"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
    answer["Cache-Control"] = "no-store"
    return answer


def _parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the start and the end (exclusive); None unless the text is one byte range."""
    match = RANGE.fullmatch(text)
    # RFC 9110: a server ignores a Range header that it does not understand.
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:  # bytes=-N: the last N bytes
        return max(0, size - int(match[2])), size
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size


def _read_all(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return _read_chunks(file, os.fstat(file.fileno()).st_size)


def _read_and_close(file: IO[bytes], size: int) -> Iterator[bytes]:
    with file:
        yield from _read_chunks(file, size)


def _read_chunks(file: IO[bytes] | BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next `size` bytes, with stars in place of secrets: offsets stay as in the file."""
    masks = read_masks(settings.OROBOROS)
    position, end = file.tell(), file.tell() + size
    while position < end:
        # With what is before and after it: a secret may begin or end outside.
        before = min(masks.longest, position)
        file.seek(position - before)
        length = min(CHUNK, end - position)
        chunk = masks.cover_bytes(file.read(before + length + masks.longest))
        if len(chunk) <= before:
            return
        yield chunk[before : before + length]
        position += length
