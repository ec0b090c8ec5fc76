"""Patches side by side and without changes of white space; what is opened so does not count."""

from dataclasses import replace

import pytest
from django.test import Client

from runs.comments.rules import number_lines
from runs.comparison.layout import BLOCK_LINES, Layout, hide_space_changes, pair_lines, read_layout
from runs.repository import open_repository
from tests.factories import CommentFactory, RunFactory, UserFactory
from tests.runs.commits import run_git

HUNK = ("hunk", "@@ -3,4 +3,5 @@ def f():")


def patch(*lines):
    kinds = {"+": "add", "-": "del", "\\": "note"}
    return [(kinds.get(line[0], ""), line) for line in lines]


def test_lines_that_differ_in_white_space_only_count_as_unchanged():
    lines = [HUNK, *patch(" a", "-b = 1", "-c", "-e", "+  b=1", "+d", "+\te\r", " f")]
    assert hide_space_changes(lines) == [
        HUNK,
        *patch(" a", "   b=1", "-c", "+d", " \te\r", " f"),
    ]


def test_the_numbers_of_the_lines_stay_those_of_the_files():
    lines = [HUNK, *patch("-a", "-b", "+ a", "+new", "+ b", " c", "-d")]
    whole = {line.text[1:].strip(): line for line in number_lines(lines)}
    for line in number_lines(hide_space_changes(lines)):
        same = whole[line.text[1:].strip()]
        assert (line.side, line.number) == (same.side, same.number)


def test_a_hunk_without_another_change_is_left_out():
    other = ("hunk", "@@ -40 +41 @@")
    lines = [HUNK, *patch("-a", "+ a"), other, *patch("-x", "+y")]
    assert hide_space_changes(lines) == [other, *patch("-x", "+y")]
    assert hide_space_changes(lines[:3]) == []


@pytest.mark.parametrize(
    ("old", "new"), [("-a\u00a0b", "+a b"), ("-a", "+A"), ("-", "+x"), ("-ab", "+a\u200bb")]
)
def test_any_other_difference_is_shown(old, new):
    lines = [HUNK, *patch(old, new)]
    assert hide_space_changes(lines) == lines


def test_a_last_line_that_gets_its_end_is_shown():
    lines = [HUNK, *patch("-a", "\\ No newline at end of file", "+a")]
    assert hide_space_changes(lines) == lines


def test_a_long_block_that_is_only_indented_is_hidden_and_its_middle_is_shown_if_it_is_long():
    count = 10 * BLOCK_LINES
    old, new = ([f"{sign}{number}" for number in range(count)] for sign in ("-", "+  "))
    assert hide_space_changes([HUNK, *patch(*old, *new)]) == []
    new[0], new[-1] = "+first", "+last"
    lines = [HUNK, *patch(*old, *new)]
    assert hide_space_changes(lines) == lines


def test_deleted_and_added_lines_are_side_by_side():
    lines = [HUNK, *patch(" a", "-b", "-c", "+d", " e", "+f")]
    pairs = [
        (old and (old.text, old.number, old.old), new and (new.text, new.number))
        for old, new in pair_lines(number_lines(lines))
    ]
    assert pairs == [
        ((HUNK[1], None, None), (HUNK[1], None)),
        ((" a", 3, 3), (" a", 3)),
        (("-b", 4, None), ("+d", 4)),
        (("-c", 5, None), None),
        ((" e", 5, 6), (" e", 5)),
        (None, ("+f", 6)),
    ]


def test_an_unknown_layout_is_the_plain_one():
    assert read_layout({"view": "x", "space": "1"}) == Layout()
    assert read_layout({"view": "split", "space": "hide"}) == Layout(True, True)


@pytest.fixture
def run(db, settings, tmp_path):
    """A run that indents a file's only line, on top of the commit that main has."""
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    repo = open_repository(settings.OROBOROS)
    trees = []
    for text in ("root\n", "  root\n"):
        blob = run_git(repo, "hash-object", "-w", "--stdin", stdin=text)
        trees.append(run_git(repo, "mktree", stdin=f"100644 blob {blob}\troot.txt\n"))
    root = run_git(repo, "commit-tree", "-m", "root", trees[0])
    repo.update_ref("refs/heads/main", root, None)
    return RunFactory(commit_sha=run_git(repo, "commit-tree", "-m", "x", "-p", root, trees[1]))


def read(run, query):
    client = Client()
    client.force_login(UserFactory(groups=["approver"]))
    return client.get(f"/admin/runs/run/{run.pk}/change/{query}").content.decode()


def test_the_page_shows_both_sides_with_their_comments(run):
    CommentFactory(run=run, path="root.txt", line=1, side="old", text="Of the old line")
    CommentFactory(run=run, path="root.txt", line=1, side="new", text="Of the new line")
    page = read(run, "?view=split")
    assert 'class="oro-patch numbered split"' in page
    for text in ('name="old_line" value="1"', 'name="line" value="1"', "-root", "+  root"):
        assert page.count(text) == 1
    for text in ("Of the old line", "Of the new line"):
        assert page.count(f": {text}\n") == 1


def test_files_without_their_white_space_do_not_count_as_opened(run):
    page = read(run, "?space=hide")
    assert "Nothing but white space was changed." in page
    assert "data-changes" not in page
    assert f'data-changes="{run.commit_sha}"' in read(run, "?view=split")
