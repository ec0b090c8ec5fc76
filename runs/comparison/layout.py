"""How the lines of a patch are laid out: side by side, and without changes of white space."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from runs.comments.rules import NumberedLine

Line = tuple[str, str]  # kind and text with its sign, as `FileChange.lines` has them
# Of what is compared in a block of changed lines: the time grows with the third power.
BLOCK_LINES = 100
SPACE = str.maketrans("", "", " \t\r\f\v")


@dataclass(frozen=True)
class Layout:
    """What the reader chose; it is in the page's address."""

    is_split: bool = False
    hides_space: bool = False

    @property
    def query(self) -> dict[str, str]:
        """The parameters that lead to this layout."""
        chosen = {"view": self.is_split and "split", "space": self.hides_space and "hide"}
        return {name: value for name, value in chosen.items() if value}


def read_layout(query: Mapping[str, str]) -> Layout:
    """Return the layout of an address; anything unknown is the plain one."""
    return Layout(query.get("view") == "split", query.get("space") == "hide")


def hide_space_changes(lines: Iterable[Line]) -> list[Line]:
    """Return a file's patch in which lines that differ in white space only count as unchanged.

    The new line is shown. Hunks without any other change are left out.
    """
    shown: list[Line] = []
    for hunk in _split_hunks(lines):
        merged = list(_merge_blocks(hunk))
        if any(kind in ("add", "del") for kind, _ in merged):
            shown += merged
    return shown


def _split_hunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    hunk: list[Line] = []
    for line in lines:
        if line[0] == "hunk" and hunk:
            yield hunk
            hunk = []
        hunk.append(line)
    if hunk:
        yield hunk


def _merge_blocks(hunk: Iterable[Line]) -> Iterator[Line]:
    """Yield the hunk's lines; each block of deleted and then added lines is compared."""
    old: list[str] = []
    new: list[str] = []
    for kind, text in hunk:
        if kind == "add":
            new.append(text)
            continue
        if new or kind != "del":
            yield from _merge_block(old, new)
            old, new = [], []
        if kind == "del":
            old.append(text)
        else:
            yield kind, text
    yield from _merge_block(old, new)


def _merge_block(old: Sequence[str], new: Sequence[str]) -> Iterator[Line]:
    at_old = at_new = 0
    ends = (len(old), len(new), 0)
    for to_old, to_new, size in [*_find_equal(old, new), ends]:
        yield from (("del", text) for text in old[at_old:to_old])
        yield from (("add", text) for text in new[at_new:to_new])
        yield from (("", f" {text[1:]}") for text in new[to_new : to_new + size])
        at_old, at_new = to_old + size, to_new + size


def _find_equal(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield where the lines are equal but for white space: both positions, and how many."""
    before, after = ([text[1:].translate(SPACE) for text in side] for side in (old, new))
    start = _count_equal(before, after)
    end = _count_equal(before[start:][::-1], after[start:][::-1])
    before, after = before[start : len(old) - end], after[start : len(new) - end]
    yield 0, 0, start
    if max(len(before), len(after)) <= BLOCK_LINES:
        for match in SequenceMatcher(None, before, after, False).get_matching_blocks():
            yield match.a + start, match.b + start, match.size
    yield len(old) - end, len(new) - end, end


def _count_equal(before: Sequence[str], after: Sequence[str]) -> int:
    """Return how many lines at the beginning are equal."""
    pairs = zip(before, after, strict=False)
    return next(
        (number for number, (one, other) in enumerate(pairs) if one != other),
        min(len(before), len(after)),
    )


def pair_lines(
    lines: Iterable[NumberedLine],
) -> Iterator[tuple[NumberedLine | None, NumberedLine | None]]:
    """Yield the lines side by side: old and new, with None beside what the other side lacks.

    A line of both files is on both sides; one of neither file, such as a hunk's header, has no
    number and is on both sides too.
    """
    old: list[NumberedLine] = []
    new: list[NumberedLine] = []
    for line in lines:
        if line.kind == "add":
            new.append(line)
            continue
        if new or line.kind != "del":
            yield from zip_longest(old, new)
            old, new = [], []
        if line.kind == "del":
            old.append(line)
        else:
            yield line, line
    yield from zip_longest(old, new)
