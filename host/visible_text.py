"""Makes visible what a text would hide from its reader: control characters and the like.

Text of a branch (its lines, file names, authors) is shown to people who decide on it. Characters
that reorder, break, erase or hide other text are replaced by their code point (CVE-2021-42574).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby

# Cc: controls, Cf: bidi controls and zero-width characters, Zl and Zp: line and paragraph
# separators, Zs: spaces that are no usual blank, Cn: no character.
HIDDEN_CATEGORIES = frozenset(["Cc", "Cf", "Zl", "Zp", "Zs", "Cn"])
# Letters and signs that are drawn as a blank or not at all; those that Unicode calls
# Default_Ignorable_Code_Point are among them.
BLANKS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U00016fe4\U0001d159\u180b\u180c\u180d\u180f"
)
SHOWN = frozenset(" \t\n\u3000")
VARIATION_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
# How Python decodes a byte that is not UTF-8 with `surrogateescape` (PEP 383).
ESCAPED_BYTES = range(0xDC80, 0xDD00)
# ECMA-48, SGR: it changes how text looks, and not what it says.
COLOURS = re.compile(r"(?:\x1b\[|\x9b)[0-9;:]*m")
EMOJI_STYLE = "\ufe0f"
# So many marks may lie over one letter: more of them cover the lines above and below it.
STACKED_MARKS = 6


def decode(raw: bytes) -> str:
    """Decode UTF-8; each byte that is not UTF-8 stays recognizable for `split_marks`."""
    return raw.decode("utf-8", "surrogateescape")


def make_visible(text: str) -> str:
    """Return the text with marks such as `<U+202E>`, `<CR>` or `<0xFF>` for what it would hide.

    Line feeds and tabs stay.
    """
    return "".join(piece for _, piece in split_marks(text))


def make_line_visible(text: str) -> str:
    """Return the text as `make_visible`, on one line: line feeds and tabs are marked too."""
    return make_visible(text).replace("\n", "<LF>").replace("\t", "<TAB>")


def format_for_terminal(text: str) -> str:
    """Return the text as `make_visible`, without colours: nothing in it controls a terminal."""
    return make_visible(COLOURS.sub("", text).replace("\r\n", "\n"))


def split_marks(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the text in pieces, each with whether it is a mark that was not in the text."""
    if text.isascii() and text.isprintable():
        if text:
            yield False, text
        return
    for is_mark, pieces in groupby(_mark_characters(text), key=lambda pair: pair[0]):
        yield is_mark, "".join(piece for _, piece in pieces)


def split_named_marks(pieces: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bool, str]]:
    """Yield named pieces of one text as `split_marks` does, each with its name.

    The marks are those of the whole text: where it is divided makes no difference.
    """
    text = "".join(piece for _, piece in pieces)
    if text.isascii() and text.isprintable():
        yield from ((name, False, piece) for name, piece in pieces if piece)
        return
    names = (name for name, piece in pieces for _ in piece)
    marked = zip(names, _mark_characters(text), strict=True)
    for (name, is_mark), group in groupby(marked, key=lambda one: (one[0], one[1][0])):
        yield name, is_mark, "".join(shown for _, (_, shown) in group)


def _mark_characters(text: str) -> Iterator[tuple[bool, str]]:
    before, stacked = "", 0
    for character in text:
        # ❤ and ❤️ differ by this selector; after anything else it is a character without a trace.
        is_emoji = character == EMOJI_STYLE and unicodedata.category(before or " ") == "So"
        stacked = stacked + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        is_mark = (is_hidden(character) and not is_emoji) or stacked > STACKED_MARKS
        yield is_mark, _format_mark(character) if is_mark else character
        before = character


def is_hidden(character: str) -> bool:
    """Return whether a page would not show the character, or would show it as a blank."""
    if character in SHOWN:
        return False
    if unicodedata.category(character) in HIDDEN_CATEGORIES or character in BLANKS:
        return True
    code = ord(character)
    return 0xD800 <= code < 0xE000 or any(code in selectors for selectors in VARIATION_SELECTORS)


def _format_mark(character: str) -> str:
    code = ord(character)
    if code in ESCAPED_BYTES:
        return f"<0x{code - 0xDC00:02X}>"
    return "<CR>" if character == "\r" else f"<U+{code:04X}>"
