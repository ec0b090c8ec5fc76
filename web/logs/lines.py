"""Lines of a log that is read in chunks. Lines end at line feeds only, and count from 1."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# ECMA-48, SGR: colours within a text must not prevent that it is found.
COLOURS = re.compile(rb"\x1b\[[0-9;:]*m")
# Of one line that is searched: a log without line feeds must not fill the memory.
LINE_BYTES = 64 * 1024


@dataclass(frozen=True)
class LineStart:
    """The number of a line, and the offset of its first byte."""

    number: int
    offset: int


def find_line(chunks: Iterable[bytes], line: int) -> LineStart:
    """Return where the line begins. After the last line it is the end of the chunks."""
    at, number = 0, 1
    for chunk in chunks:
        count = chunk.count(b"\n")
        if number + count < line:
            at, number = at + len(chunk), number + count
            continue
        position = 0
        for _ in range(line - number):
            position = chunk.index(b"\n", position) + 1
        return LineStart(line, at + position)
    return LineStart(number, at)


def count_lines(chunks: Iterable[bytes]) -> int:
    """Return the number of lines; what follows the last line feed is a line too."""
    count, last = 0, b"\n"
    for chunk in chunks:
        count, last = count + chunk.count(b"\n"), chunk[-1:] or last
    return count + (last != b"\n")


def search_lines(chunks: Iterable[bytes], text: str) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each line that has the text, in either case of ASCII."""
    wanted = text.encode().lower()
    for number, line in enumerate(_split(chunks), 1):
        if wanted in COLOURS.sub(b"", line).lower():
            yield number, line


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line[:LINE_BYTES] for line in lines)
        rest = rest[:LINE_BYTES]
    if rest:
        yield rest
