"""Colours for the lines of a patch, by Pygments: which part of a line is a keyword, a comment, ….

Each hunk is read by itself, its old and its new side apart, so one that begins within a string or a
comment of several lines may be coloured as code. What is shown is always the line's own text.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token

from runs.comments.rules import NumberedLine

# Characters of the hunks; Pygments reads some 300,000 in a second, once for each side.
FILE_CHARACTERS, PAGE_CHARACTERS = 30_000, 60_000
SIDES_KEPT = 256  # of hunks that were read, as several people look at a change
# A longer line is of a generated file, and takes a regular expression long.
LINE_CHARACTERS = 1000

# Lexers by the extension. Others are not used: their expressions would only be read for an attack.
LEXERS = {
    **dict.fromkeys(("py", "pyi"), "python"),
    **dict.fromkeys(("js", "mjs", "cjs", "jsx"), "javascript"),
    **dict.fromkeys(("ts", "mts", "cts"), "typescript"),
    **dict.fromkeys(("html", "htm", "svelte", "astro"), "html"),
    **dict.fromkeys(("yml", "yaml"), "yaml"),
    **dict.fromkeys(("xml", "svg"), "xml"),
    **dict.fromkeys(("sh", "bash"), "bash"),
    **dict.fromkeys(("ini", "cfg"), "ini"),
    **dict.fromkeys(("c", "h"), "c"),
    **dict.fromkeys(("cc", "cpp", "hpp"), "cpp"),
    **dict.fromkeys(("ex", "exs"), "elixir"),
    **{name: name for name in ("tsx", "vue", "css", "scss", "less", "json", "toml", "go", "php")},
    **{"sql": "postgresql", "rb": "ruby", "rs": "rust", "java": "java", "kt": "kotlin"},
    **{"cs": "csharp", "swift": "swift"},
}
NAMED = {"dockerfile": "docker", "makefile": "make", "gemfile": "ruby", "rakefile": "ruby"}

# CSS classes of Pygments' types; a type that is not listed has that of the nearest one above it.
CLASSES = {
    Token.Comment: "t-comment",
    Token.Keyword: "t-keyword",
    Token.Operator.Word: "t-keyword",
    Token.Literal.String: "t-string",
    Token.Literal.Number: "t-number",
    Token.Keyword.Constant: "t-number",
    Token.Name.Function: "t-name",
    Token.Name.Class: "t-name",
    Token.Name.Decorator: "t-name",
    Token.Name.Tag: "t-name",
    Token.Name.Attribute: "t-number",
}
Piece = tuple[str, str]  # CSS class, "" without one, and text


def find_language(path: str) -> str:
    """Return Pygments' name for the language of a file of that name; "" if it is shown plain."""
    name = PurePosixPath(path).name.lower()
    return NAMED.get(name) or LEXERS.get(name.rpartition(".")[2] if "." in name else "", "")


@functools.cache
def _load_lexer(language: str) -> Lexer:
    return get_lexer_by_name(language)


class Highlighter:
    """Colours the files of one page, one after the other, until the page has enough.

    `large_count`: how many files were left plain because they, or those before them, are large.
    `coloured_count`: how many were not.
    """

    def __init__(self, limit: int = PAGE_CHARACTERS) -> None:
        self._left = limit
        self.large_count = self.coloured_count = 0

    def colour(self, path: str, lines: Iterable[NumberedLine]) -> list[NumberedLine]:
        """Return the file's lines with their pieces."""
        shown = list(lines)
        language = find_language(path)
        if not language or not shown:
            return shown
        sizes = [len(line.text) for line in shown]
        size = sum(sizes)
        if size > min(FILE_CHARACTERS, self._left) or max(sizes) > LINE_CHARACTERS:
            self.large_count += 1
            return shown
        self._left -= size
        self.coloured_count += 1
        return [line for hunk in _split_hunks(shown) for line in _colour_hunk(language, hunk)]


def _split_hunks(lines: Iterable[NumberedLine]) -> Iterator[list[NumberedLine]]:
    hunk: list[NumberedLine] = []
    for line in lines:
        if line.kind == "hunk" and hunk:
            yield hunk
            hunk = []
        hunk.append(line)
    if hunk:
        yield hunk


def _colour_hunk(language: str, hunk: Sequence[NumberedLine]) -> Iterator[NumberedLine]:
    """Yield the lines of the hunk: deleted ones as of the old side, others as of the new one."""
    new = iter(_read_side(language, hunk, "add"))
    old = iter(_read_side(language, hunk, "del"))
    for line in hunk:
        if line.kind not in ("add", "del", ""):
            yield line
            continue
        # A line without a kind is on both sides.
        before = next(old, ()) if line.kind in ("del", "") else ()
        pieces = before if line.kind == "del" else next(new)
        yield replace(line, pieces=(("", line.text[:1]), *pieces))


def _read_side(
    language: str, hunk: Sequence[NumberedLine], kind: str
) -> Sequence[tuple[Piece, ...]]:
    """Return the pieces of the lines of one side; none if it has no line of its own to show."""
    if kind == "del" and all(line.kind != kind for line in hunk):
        return ()
    return _read_text(language, "\n".join(one.text[1:] for one in hunk if one.kind in (kind, "")))


@functools.lru_cache(SIDES_KEPT)
def _read_text(language: str, text: str) -> tuple[tuple[Piece, ...], ...]:
    found = _load_lexer(language).get_tokens_unprocessed(text)
    tokens = [(_find_class(kind), part) for _, kind, part in found]
    if "".join(part for _, part in tokens) != text:  # never show anything but the file's own text
        tokens = [("", text)]
    return tuple(_split_lines(tokens))


def _split_lines(tokens: Iterable[Piece]) -> Iterator[tuple[Piece, ...]]:
    line: list[Piece] = []
    for name, part in tokens:
        first, *rest = part.split("\n")
        line.append((name, first))
        for text in rest:
            yield _join(line)
            line = [(name, text)]
    yield _join(line)


def _join(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the pieces without empty ones; neighbours of one class are one piece."""
    joined: list[Piece] = []
    for name, text in pieces:
        if text and joined and joined[-1][0] == name:
            joined[-1] = (name, joined[-1][1] + text)
        elif text:
            joined.append((name, text))
    return tuple(joined)


@functools.cache
def _find_class(kind: Any) -> str:
    while kind is not None and kind not in CLASSES:
        kind = kind.parent
    return CLASSES.get(kind, "")
