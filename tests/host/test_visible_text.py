"""Characters that hide or reorder text are shown by their code points."""

import pytest

from host.visible_text import (
    decode,
    make_line_visible,
    make_visible,
    split_marks,
    split_named_marks,
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain text, \ttabs", "plain text, \ttabs"),
        (b"a\r", "a<CR>"),
        (b"a\x0cb\x0bc\x1b[2Kd\x00", "a<U+000C>b<U+000B>c<U+001B>[2Kd<U+0000>"),
        ("a\u2028b\u2029c\u0085d".encode(), "a<U+2028>b<U+2029>c<U+0085>d"),
        ("\u202ereversed\u2066".encode(), "<U+202E>reversed<U+2066>"),
        ("a\u200bb\u200d\ufeff\u00ad".encode(), "a<U+200B>b<U+200D><U+FEFF><U+00AD>"),
        ("a\u00a0b\u3164\u2800\U000e0100".encode(), "a<U+00A0>b<U+3164><U+2800><U+E0100>"),
        ("\U000e0041".encode(), "<U+E0041>"),
        (b"l\xffb \xc3(", "l<0xFF>b <0xC3>("),
        (
            "grün 日本\u3000語 हिन्दी עברית e\u0301 🚀".encode(),
            "grün 日本\u3000語 हिन्दी עברית e\u0301 🚀",
        ),
        ("a\u180b\u180fb\U00016fe4\U0001d159".encode(), "a<U+180B><U+180F>b<U+16FE4><U+1D159>"),
        (
            ("a" + "\u0301" * 8 + "b\u0301").encode(),
            "a" + "\u0301" * 6 + "<U+0301>" * 2 + "b\u0301",
        ),
        ("❤\ufe0f a\ufe0f".encode(), "❤\ufe0f a<U+FE0F>"),
        (b"", ""),
    ],
)
def test_what_a_text_would_hide_is_shown_as_a_mark(raw, shown):
    assert make_visible(decode(raw)) == shown


def test_a_name_is_shown_on_one_line():
    assert make_line_visible("a\nb\tc") == "a<LF>b<TAB>c"


def test_marks_are_told_from_text_that_looks_like_one():
    assert list(split_marks("<U+202E>\u202e")) == [(False, "<U+202E>"), (True, "<U+202E>")]


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("text", ["plain", "a\u202eb\r", "e" + "\u0301" * 6, "❤\ufe0f x\ufe0f", ""])
def test_where_a_text_is_divided_makes_no_difference_to_its_marks(text, at):
    pieces = list(split_named_marks([("one", text[:at]), ("two", text[at:])]))
    assert "".join(shown for _, _, shown in pieces) == make_visible(text)
    assert "".join(shown for _, is_mark, shown in pieces if is_mark) == "".join(
        shown for is_mark, shown in split_marks(text) if is_mark
    )
    assert {name for name, _, _ in pieces} <= {"one", "two"}
