"""The numbers of the lines that a difference shows, and whom a comment mentions."""

import pytest

from runs.comments.rules import NEW, OLD, find_line, find_mentions, number_lines

PATCH = [
    ("hunk", "@@ -3,3 +3,4 @@ def f():"),
    ("", " same"),
    ("del", "-old"),
    ("add", "+new"),
    ("add", "+more"),
    ("note", "\\ No newline at end of file"),
    ("hunk", "@@ -40 +41 @@"),
    ("del", "-last"),
    ("add", "+end"),
]


def test_a_deleted_line_has_the_old_files_number_and_each_other_line_the_new_ones():
    assert [(one.side, one.number) for one in number_lines(PATCH)] == [
        ("", None),
        (NEW, 3),
        (OLD, 4),
        (NEW, 4),
        (NEW, 5),
        ("", None),
        ("", None),
        (OLD, 40),
        (NEW, 41),
    ]


def test_lines_without_a_hunk_before_them_have_no_number():
    assert [one.number for one in number_lines([("add", "+a"), ("hunk", "@@ odd")])] == [None, None]


def test_a_line_is_found_by_its_side_and_number_only():
    found = [find_line(PATCH, side, 4) for side in (NEW, OLD)]
    assert [one and one.text for one in found] == ["+new", "-old"]
    assert find_line(PATCH, NEW, 40) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@rita, look: (@bob-2) and @rita.", ["rita", "bob-2"]),
        ("ask\n@José_1+x@y!", ["José_1+x@y"]),
        ("mail rita@example.com, see a/@types/node and .@x", []),
        ("@ @. a @-", []),
    ],
)
def test_mentions_are_the_user_names_after_an_at_sign(text, names):
    assert find_mentions(text) == names
