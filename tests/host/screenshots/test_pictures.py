"""What Chromium's program printed becomes pictures that we encoded, or errors."""

import base64
import io
import json

import pytest
from PIL import Image, PngImagePlugin

from host.screenshots import pictures
from host.screenshots.pictures import (
    MISSING,
    TOLERANCE,
    PagePicture,
    compute_changed_share,
    encode_again,
    read_report,
)

SIZE = (8, 4)


def make_png(size=SIZE, colour=(10, 20, 30), form="PNG", **options):
    output = io.BytesIO()
    Image.new("RGB", size, colour).save(output, form, **options)
    return output.getvalue()


def paint(png, box, colour):
    image = Image.open(io.BytesIO(png))
    image.paste(colour, box)
    output = io.BytesIO()
    image.save(output, "PNG")
    return output.getvalue()


def report(*pages):
    return io.BytesIO(b"".join(json.dumps(one).encode() + b"\n" for one in pages))


def page(png, **more):
    return {"png": base64.b64encode(png).decode(), "status": 200, **more}


def test_a_picture_is_encoded_again_without_what_else_the_file_had():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "<script>")
    came = make_png(pnginfo=text) + b"trailing"
    (found,) = read_report(report(page(came)), [SIZE])
    assert found.status == 200 and not found.error
    image = Image.open(io.BytesIO(found.png))
    assert (image.size, image.getpixel((0, 0)), image.info) == (SIZE, (10, 20, 30), {})
    assert b"trailing" not in found.png and b"script" not in found.png


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b'"no"\n',
        b'{"png": 1}\n',
        b'{"error": ""}\n',
        b'{"error": "without an end"}',
    ],
)
def test_a_line_that_is_none_is_an_error_of_its_page(raw):
    assert read_report(io.BytesIO(raw), [SIZE]) == [PagePicture(error=MISSING)]


def test_a_page_without_a_line_says_why_and_those_before_are_kept(monkeypatch):
    first, second = read_report(report(page(make_png())), [SIZE, SIZE], "it ended")
    assert first.png and second == PagePicture(error="it ended")
    # A line that is too long ends the report: nothing of it is read as a line.
    good = report(page(make_png())).getvalue()
    monkeypatch.setattr(pictures, "LINE_BYTES", len(good))
    raw = io.BytesIO(good + b" " * len(good) + good)
    found = read_report(raw, [SIZE] * 3)
    assert [bool(one.png) for one in found] == [True, False, False]


@pytest.mark.parametrize(
    "came",
    [
        b"no picture",
        make_png()[:40],
        make_png((9, 4)),
        make_png((20_000, 20_000)),
        make_png(form="BMP"),
        make_png(form="GIF"),
    ],
)
def test_what_is_no_png_of_that_size_is_refused(came):
    with pytest.raises(ValueError, match=r"picture"):
        encode_again(came, SIZE)
    (found,) = read_report(report(page(came)), [SIZE])
    assert found.png == b"" and found.error


def test_an_error_is_one_short_line_and_a_page_too_many_is_left_out():
    found = read_report(report({"error": "a\nb" + "x" * 999}, page(make_png())), [SIZE])
    assert len(found) == 1 and found[0].error.startswith("a b") and len(found[0].error) <= 300
    hidden = report({"error": "a\0b\u202ec\ud800"})
    assert read_report(hidden, [SIZE])[0].error == "a<U+0000>b<U+202E>c?"
    assert read_report(report({"png": "###"}), [SIZE])[0].error
    assert read_report(report(page(make_png(), status="200")), [SIZE])[0].status == 0
    assert read_report(report(page(make_png(), status=10**6)), [SIZE])[0].status == 0


def test_the_share_counts_pixels_that_differ_by_more_than_the_tolerance():
    before = make_png(colour=(100, 100, 100))
    assert compute_changed_share(before, before) == 0
    assert compute_changed_share(before, paint(before, (0, 0, 2, 1), (200, 100, 100))) == 2 / 32
    barely = (100, 100, 100 + TOLERANCE)
    assert compute_changed_share(before, make_png(colour=barely)) == 0
    assert compute_changed_share(before, make_png(colour=(100, 100, 101 + TOLERANCE))) == 1


def test_where_only_one_picture_has_pixels_they_count_as_changed():
    assert compute_changed_share(make_png((8, 4)), make_png((8, 8))) == 0.5
    # Together they have 8 × 4 + 4 × 8 - 4 × 4 pixels, and 4 × 4 in common.
    assert compute_changed_share(make_png((8, 4)), make_png((4, 8))) == 32 / 48
