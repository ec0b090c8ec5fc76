"""What a difference shows, and what it says of the rest."""

import subprocess

import pytest

from host.git.changes import ChangedFile
from runs.difference import OVERVIEW, Difference, FileChange, choose_omitted, describe_file
from runs.difference import format_command as format_full_command

COMMITS = ("b" * 40, "c" * 40)


def changed(path, added=1, **fields):
    return ChangedFile(path, "modified", added=added, deleted=0, **fields)


def format_command(file):
    return format_full_command(file, "BASE", "HEAD")


def test_a_large_first_file_does_not_hide_the_later_ones():
    files = [changed("a", 4100), *(changed(f"b{number}") for number in range(300))]
    omitted = choose_omitted(files, {}, OVERVIEW)
    assert omitted == {"a": "4,100 changed lines are not shown."}


def test_each_limit_has_a_reason():
    ids = {"old_id": "1" * 40, "new_id": "2" * 40}
    files = [
        changed("binary", None, **ids),
        changed("minified.js", 1, **ids),
        *(changed(f"{number}", 1000) for number in range(5)),
        changed("moved", 0),
    ]
    sizes = {"1" * 40: 2_000_000, "2" * 40: 3}
    assert choose_omitted(files, sizes, OVERVIEW) == {
        "binary": "Binary, 2,000,000 bytes before and 3 after; not shown.",
        "minified.js": "The lines of a file of 2,000,003 bytes are not shown.",
        "4": "Not shown, because the run changes too much in all.",
    }


def test_at_most_400_files_are_shown_in_full():
    files = [changed(f"{number}") for number in range(402)]
    assert list(choose_omitted(files, {}, OVERVIEW)) == ["400", "401"]


def test_a_long_line_is_cut_and_says_so():
    lines = [("add", b"+" + b"x" * 3000)]
    file = describe_file(changed("a.js"), "", lines, OVERVIEW, COMMITS)
    assert file.lines[0][1].endswith("x … 1,001 more characters")
    assert file.omitted == "Lines are shown up to their character 2,000."
    assert Difference(*COMMITS, changes=[file]).is_cut


def test_commits_that_are_not_listed_count_as_cut():
    assert Difference(*COMMITS, commit_count=3).is_cut
    assert not Difference(*COMMITS).is_cut


def test_the_patch_marks_what_its_lines_would_hide():
    lines = [("hunk", "@@ -1 +1 @@ x\x1b[2K"), ("add", "+a\x0cb\u202e\r"), ("add", "+\udcff")]
    file = FileChange("a", "added", new_mode="100644", lines=lines)
    assert file.patch.split("\n") == [
        "diff --git a/a b/a",
        "new file mode 100644",
        "--- /dev/null",
        "+++ b/a",
        "@@ -1 +1 @@ x<U+001B>[2K",
        "+a<U+000C>b<U+202E><CR>",
        "+<0xFF>",
        "",
    ]


def test_a_file_that_was_renamed_and_left_out_says_so_in_the_patch():
    file = FileChange(
        "b", "renamed", old_path="a", old_mode="100644", new_mode="100755", omitted="Too large."
    )
    assert "rename from a\nrename to b\n[Too large. ]\n" in file.patch
    assert "old mode 100644\nnew mode 100755\n" in file.patch


@pytest.mark.parametrize(
    ("file", "command"),
    [
        (changed("a b"), "git diff BASE HEAD -- 'a b'"),
        (changed("[id].tsx"), "git --literal-pathspecs diff BASE HEAD -- '[id].tsx'"),
        (changed("b", old_path="a"), "git diff BASE HEAD -- a b"),
        (changed("a.png", None), "git show HEAD:a.png"),
        (ChangedFile("a.png", "deleted", added=None), "git show BASE:a.png"),
        (changed("x\n\u202e'\udcff"), "git diff BASE HEAD -- $'x\\x0a\\xe2\\x80\\xae\\x27\\xff'"),
    ],
)
def test_the_command_names_the_file_exactly(file, command):
    assert format_command(file) == command


def test_a_shell_reads_the_quoted_name_back():
    _, _, word = format_command(changed("x\n\u202e'\\\udcff")).partition(" -- ")
    argv = ["bash", "-c", f"printf %s {word}"]
    read = subprocess.run(argv, capture_output=True, check=True).stdout
    assert read == "x\n\u202e'\\\udcff".encode("utf-8", "surrogateescape")
