"""What Chromium's program printed becomes pictures that we encoded, or errors."""

import base64
import io
import json

import pytest
from PIL import Image, PngImagePlugin

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


def report(*pages, **more):
    return json.dumps({"pictures": pages, **more}).encode()


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
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"pictures": 3}',
        report("no"),
        report({"png": 1}),
    ],
)
def test_a_report_that_is_none_is_an_error_for_each_page(raw):
    assert read_report(raw, [SIZE, SIZE]) == [PagePicture(error=MISSING)] * 2


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
    found = read_report(report({"error": "a\nb\0" + "x" * 999}, page(make_png())), [SIZE])
    assert len(found) == 1 and found[0].error.startswith("a b") and len(found[0].error) <= 300
    assert read_report(report(error="Chromium ended"), [SIZE])[0].error == "Chromium ended"
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
