"""Lines of a log that is read in chunks of any size."""

import pytest

from web.logs.lines import LineStart, count_lines, find_line, search_lines

TEXT = b"one\ntwo\n\nfour \x1b[31mred\x1b[0m\nlast"


def cut(raw, size):
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@pytest.mark.parametrize("size", [1, 3, 4, 100])
@pytest.mark.parametrize(
    ("line", "start"),
    [(1, b"one"), (2, b"two"), (3, b"\n"), (4, b"four"), (5, b"last")],
)
def test_a_line_begins_after_as_many_line_feeds(size, line, start):
    found = find_line(cut(TEXT, size), line)
    assert found.number == line
    assert TEXT[found.offset :].startswith(start)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_what_is_after_the_last_line_is_the_end(size):
    assert find_line(cut(TEXT, size), 6) == LineStart(5, len(TEXT))
    assert find_line([], 1) == LineStart(1, 0)


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize(
    ("raw", "count"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (TEXT, 5)]
)
def test_what_follows_the_last_line_feed_counts_as_a_line(size, raw, count):
    assert count_lines(cut(raw, size)) == count


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_text_is_found_in_either_case_and_with_colours_within_it(size):
    assert [number for number, _ in search_lines(cut(TEXT, size), "O")] == [1, 2, 4]
    assert [number for number, _ in search_lines(cut(TEXT, size), "four RED")] == [4]
    assert [line for _, line in search_lines(cut(TEXT, size), "last")] == [b"last"]
    assert list(search_lines(cut(TEXT, size), "none")) == []
