"""The colours of a patch's lines: which part has which, and that the text stays the file's."""

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from runs import difference
from runs.comments.rules import number_lines
from runs.comparison import highlighting
from runs.comparison.highlighting import LEXERS, NAMED, Highlighter, find_language
from runs.difference import Difference, FileChange
from runs.rules import Status
from tests.factories import RunFactory, UserFactory
from web.templatetags.presentation import code_line

HOSTILE_PATH = '<script>alert(3)/"><img src=x onerror=alert(4)>.py'
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\x00\ud83d\udcff\r"


def colour(path, *texts, limit=highlighting.PAGE_CHARACTERS):
    kinds = {"+": "add", "-": "del", " ": "", "@": "hunk", "\\": "note"}
    lines = [(kinds[text[0]], text) for text in texts]
    return Highlighter(limit).colour(path, number_lines(lines))


def classes_of(line):
    return [name for name, _ in line.pieces if name]


def test_the_parts_of_a_line_have_their_classes():
    hunk, line, other, note = colour(
        "app.py", "@@ -1 +1 @@ def f", "+def f(): return 'a', 12, True  # why", " x = 1", "\\ No"
    )
    assert hunk.pieces == note.pieces == ()
    assert line.pieces == (
        ("", "+"),
        ("t-keyword", "def"),
        ("", " "),
        ("t-name", "f"),
        ("", "(): "),
        ("t-keyword", "return"),
        ("", " "),
        ("t-string", "'a'"),
        ("", ", "),
        ("t-number", "12"),
        ("", ", "),
        ("t-number", "True"),
        ("", "  "),
        ("t-comment", "# why"),
    )
    assert classes_of(other) == ["t-number"]
    assert (other.number, other.old) == (1 + 1, 1)


def test_a_string_of_several_lines_is_one_in_the_side_that_has_it():
    """The deleted quotes begin no string of the new side."""
    lines = colour("app.py", "@@ -1 +1 @@", '-"""', "-def f", '-"""', " def f", "+def g")
    assert [classes_of(line) for line in lines[1:]] == [
        ["t-string"], ["t-string"], ["t-string"], ["t-keyword", "t-name"], ["t-keyword", "t-name"],
    ]  # fmt: skip


def test_a_string_that_a_hunk_leaves_open_ends_with_it():
    lines = colour("app.py", "@@ -1 +1 @@", '+"""', "@@ -9 +9 @@", "+def f")
    assert classes_of(lines[-1]) == ["t-keyword", "t-name"]


@pytest.mark.parametrize("path", ["a.txt", "LICENSE", "a.py.orig", "py", ".py.", "a.unknown"])
def test_a_file_of_an_unknown_kind_is_plain(path):
    assert find_language(path) == ""
    assert [line.pieces for line in colour(path, "@@ -1 +1 @@", "+def f")] == [(), ()]


@pytest.mark.parametrize("path", ["deep/Dockerfile", "Makefile", "A.PY", "x/y.TSX"])
def test_a_file_is_known_by_its_name_in_any_case(path):
    assert find_language(path)


def test_large_files_and_long_lines_are_plain_and_counted(monkeypatch):
    monkeypatch.setattr(highlighting, "FILE_CHARACTERS", 100)
    highlighter = Highlighter(limit=150)

    def is_coloured(text):
        lines = highlighter.colour("a.py", number_lines([("add", f"+{text}")]))
        return bool(lines[0].pieces)

    assert not is_coloured("x" * 200)
    assert is_coloured("x" * 80)
    assert not is_coloured("x" * 80)  # of what the page has left
    assert is_coloured("x" * 40)
    monkeypatch.setattr(highlighting, "LINE_CHARACTERS", 5)
    assert not is_coloured("x" * 6)
    assert (highlighter.large_count, highlighter.coloured_count) == (3, 2)


@pytest.mark.parametrize("name", [*(f"a.{one}" for one in LEXERS), *NAMED])
def test_hostile_lines_are_escaped_and_whole_in_every_language(name):
    odd = [f"+{HOSTILE}", f'-"""{HOSTILE}', " /*", "+{% <!-- `${" + HOSTILE, " '''"]
    for line in colour(name, "@@ -1 +1 @@", *odd):
        assert "".join(text for _, text in line.pieces) in ("", line.text)
        shown = code_line(line)
        assert "<script" not in shown and "<img" not in shown
        assert "\u202e" not in shown and "\x00" not in shown


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=30), max_size=4))
def test_no_text_is_changed_by_its_colours(texts):
    for name in ("a.py", "a.vue", "a.md"):
        for line in colour(name, *(f"+{text}" for text in texts)):
            assert "".join(text for _, text in line.pieces) in ("", line.text)


def test_a_lexer_that_loses_text_is_not_used(monkeypatch):
    class Lossy:
        def get_tokens_unprocessed(self, text):
            yield 0, highlighting.Token.Keyword, text[:-1]

    monkeypatch.setattr(highlighting, "_load_lexer", lambda language: Lossy())
    highlighting._read_text.cache_clear()
    (line,) = colour("a.py", "+def f")
    highlighting._read_text.cache_clear()
    assert line.pieces == (("", "+"), ("", "def f"))


@pytest.mark.django_db
@pytest.mark.parametrize("view", ["", "?view=split"])
def test_a_page_escapes_hostile_files(client, monkeypatch, view):
    """Neither a file's text nor its name becomes markup: in the lines, the tree and attributes."""

    def compute(run, repo, path):
        lines = [("hunk", "@@ -1 +1 @@"), ("del", f"-{HOSTILE}"), ("add", f"+'{HOSTILE}")]
        change = FileChange(HOSTILE_PATH, "modified", added=1, deleted=1, lines=lines)
        other = FileChange("b.txt", "modified", lines=lines)
        names = [HOSTILE_PATH, "b.txt"]
        return Difference("0" * 40, run.commit_sha, files=names, changes=[change, other])

    monkeypatch.setattr(difference, "compute_difference", compute)
    client.force_login(UserFactory(groups=["operator"]))
    address = reverse("admin:runs_run_change", args=[RunFactory(status=Status.PREVIEW_READY).pk])
    page = client.get(f"{address}{view}").content.decode()
    assert "t-string" in page
    for text in ("<script>alert", "<img src=x", "\u202e", "\x00"):
        assert (text, text in page) == (text, False)
    assert page.count("&lt;script&gt;alert(3)") > 2
