"""The numbers of a patch's lines, and the people that a text mentions. Pure functions."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Source: git-diff(1), "Generating patch text with -p".
HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
NEW, OLD = "new", "old"
# The characters of Django's user names. Not within a word, as in an e-mail address or a path.
MENTION = re.compile(r"(?<![\w@./+-])@([\w.@+-]+)")


@dataclass(frozen=True)
class NumberedLine:
    """A line of a patch with its kind and its sign; `number` is None for what is no line of a file.

    A deleted line has its number in the old file (`side`), any other one in the new file; `old` is
    the number in the old file of a line that both have. `pieces` are the text in parts, each with a
    CSS class; none if it has no colours.
    """

    kind: str
    text: str
    side: str = ""
    number: int | None = None
    old: int | None = None
    pieces: tuple[tuple[str, str], ...] = ()


def number_lines(lines: Iterable[tuple[str, str]]) -> Iterator[NumberedLine]:
    """Yield the lines of a file's patch, pairs of kind and text, with their numbers."""
    numbers: dict[str, int] = {}
    for kind, text in lines:
        if kind == "hunk" and (hunk := HUNK.match(text)):
            numbers = {OLD: int(hunk[1]), NEW: int(hunk[2])}
        if kind not in ("add", "del", "") or not numbers:
            yield NumberedLine(kind, text)
            continue
        side = OLD if kind == "del" else NEW
        yield NumberedLine(kind, text, side, numbers[side], None if kind else numbers[OLD])
        if kind != "add":
            numbers[OLD] += 1
        if kind != "del":
            numbers[NEW] += 1


def find_line(lines: Iterable[tuple[str, str]], side: str, number: int) -> NumberedLine | None:
    """Return the line of the patch with that number; None if the patch does not show it."""
    found = number_lines(lines)
    return next((one for one in found if (one.side, one.number) == (side, number)), None)


def find_mentions(text: str) -> list[str]:
    """Return the user names that the text mentions as `@name`, each once.

    Punctuation after a name is none of it.
    """
    names = (match[1].rstrip(".@+-") for match in MENTION.finditer(text))
    return list(dict.fromkeys(name for name in names if name))
