"""Pictures as Chromium made them: checked, encoded again, compared. No I/O."""

import base64
import binascii
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import IO

from PIL import Image, ImageChops

from host.visible_text import make_line_visible

# Two pixels are the same up to this difference of a colour: of 255, as text is smoothed.
TOLERANCE = 16
ERROR_LENGTH, TEXT_LENGTH = 300, 1000
# Above the largest picture as base64, with its status.
LINE_BYTES = 12 * 1024 * 1024
MISSING = "Chromium made no picture"


@dataclass(frozen=True)
class PagePicture:
    """What Chromium showed of a page: a PNG and the answer's status, or why there is none."""

    png: bytes = b""
    status: int = 0
    error: str = ""


def read_report(
    file: IO[bytes], sizes: Sequence[tuple[int, int]], missing: str = MISSING
) -> list[PagePicture]:
    """Return the picture of each page, of that size, from what the program printed.

    It is one line for each page. Pages of unreviewed code may have written it: what is not as
    expected becomes an error. `missing` is that of a page without a line.
    """
    found = [_read_page(line, size) for size, line in zip(sizes, _read_lines(file), strict=False)]
    return found + [PagePicture(error=missing)] * (len(sizes) - len(found))


def _read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines, up to the first one that is too long or has no end."""
    while (line := file.readline(LINE_BYTES)).endswith(b"\n"):
        yield line


def _read_page(line: bytes, size: tuple[int, int]) -> PagePicture:
    try:
        page = json.loads(line)
    except (ValueError, RecursionError):
        page = None
    if not isinstance(page, dict) or not isinstance(page.get("png"), str):
        text = page.get("error") if isinstance(page, dict) else None
        return PagePicture(error=_shorten(text) if isinstance(text, str) else MISSING)
    status = page.get("status")
    try:
        png = encode_again(base64.b64decode(page["png"], validate=True), size)
    except (binascii.Error, ValueError) as wrong:
        return PagePicture(error=_shorten(str(wrong)))
    is_status = isinstance(status, int) and 100 <= status < 600
    return PagePicture(png, status if is_status and isinstance(status, int) else 0)


def _shorten(text: str) -> str:
    """Return the text as one short line, in which nothing is hidden."""
    # Half of a surrogate pair, as JSON may have it, is no text that can be stored.
    whole = " ".join(text[:TEXT_LENGTH].split()).encode("utf-8", "replace").decode()
    return make_line_visible(whole)[:ERROR_LENGTH] or MISSING


def encode_again(data: bytes, size: tuple[int, int]) -> bytes:
    """Return the picture as a PNG that we wrote: nothing of the bytes that came is served.

    Raises ValueError unless it is a PNG of that size. Its size is read before its pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != size:
                raise ValueError(f"The picture has {image.size}, not {size} pixels.")
            plain = image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as wrong:
        raise ValueError("That is not a picture.") from wrong
    output = io.BytesIO()
    plain.save(output, "PNG")
    return output.getvalue()


def compute_changed_share(before: bytes, after: bytes) -> float:
    """Return the share of pixels, 0 to 1, that differ by more than TOLERANCE in a colour.

    Where only one of two pictures of different sizes has pixels, they count as changed.
    """
    with Image.open(io.BytesIO(before)) as first, Image.open(io.BytesIO(after)) as second:
        one, other = first.convert("RGB"), second.convert("RGB")
    width, height = min(one.width, other.width), min(one.height, other.height)
    box = (0, 0, width, height)
    bands = ImageChops.difference(one.crop(box), other.crop(box)).split()
    largest = reduce(ImageChops.lighter, bands)
    same = sum(largest.histogram()[: TOLERANCE + 1])
    # Of both pictures together; a corner that neither has is no pixel of a page.
    pixels = sum(part.width * part.height for part in (one, other)) - width * height
    return (pixels - same) / pixels
