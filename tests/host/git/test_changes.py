"""Every changed file, and the lines of its patch, from what git prints for machines."""

import os

import pytest

from host.git.bare_repository import Repository
from host.git.changes import ChangedFile, assign_sections, parse_changes, split_patch

FORGED = (
    "a\x0cdiff --git a/payroll.py b/payroll.py\u2028--- a/payroll.py\x85+++ b/payroll.py\r"
    "@@ -1,2 +0,0 @@\u2028-forged\n"
)


@pytest.fixture
def changed(laptop, repository):
    """Commit two trees, and return their difference: the files and the lines by path."""

    def make(before, after, prepare=lambda: None):
        old = laptop.commit("main", before)
        for path, text in after.items():
            (laptop.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (laptop.folder / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        prepare()
        laptop.git("add", "-A")
        laptop.git("commit", "-q", "-m", "after")
        new = laptop.git("rev-parse", "HEAD").strip()
        repository.fetch(str(laptop.folder))
        files = repository.list_changes(old, new)
        patches = repository.read_patches(old, new, files, is_all=True)
        for file in files:  # each of them alone has the same lines
            alone = repository.read_patches(old, new, [file], is_all=False)
            if file.line_count:
                assert alone[file.path] == patches[file.path]
        return {file.path: file for file in files}, patches

    return make


def test_a_line_cannot_forge_a_second_file_or_a_hunk(changed):
    files, patches = changed({"app.py": "1\n"}, {"app.py": "1\n" + FORGED})
    assert list(files) == ["app.py"]
    assert [kind for kind, _ in patches["app.py"]] == ["hunk", "", "add"]
    assert patches["app.py"][2][1] == b"+" + FORGED.rstrip("\n").encode()


def test_lines_that_look_like_headers_are_content(changed):
    before = "diff --git a/x b/x\n-- a\n@@ -1 +1 @@\n"
    after = "++ b/x\n@@ -9,9 +9,9 @@\n\\ No newline at end of file\n"
    files, patches = changed({"f b/g": before}, {"f b/g": after})
    assert list(files) == ["f b/g"]
    kinds = [kind for kind, _ in patches["f b/g"]]
    assert kinds == ["hunk", "del", "del", "del", "add", "add", "add"]


def test_each_kind_of_change_is_listed(changed, laptop):
    lines = "".join(f"{number}\n" for number in range(50))
    before = {
        "moved.py": lines,
        "copied.py": lines + "more\n",
        "gone.txt": "x\n",
        "run.sh": "#!/bin/sh\n",
        "becomes-link": "text\n",
        "no-end": "a",
        "folder": "a file\n",
    }

    def prepare():
        (laptop.folder / "moved.py").rename(laptop.folder / "new\nname.py")
        (laptop.folder / "gone.txt").unlink()
        (laptop.folder / "run.sh").chmod(0o755)
        (laptop.folder / "becomes-link").unlink()
        (laptop.folder / "becomes-link").symlink_to("/etc/passwd")
        (laptop.folder / "folder").unlink()
        (laptop.folder / "folder").mkdir()
        (laptop.folder / "folder" / "inner").write_text("b\n")
        laptop.git("update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},vendor/lib")
        (laptop.folder / "vendor" / "lib").mkdir(parents=True)

    after = {
        "copied.py": lines + "more\nown\n",
        "copy of copied.py": lines + "more\nother\n",
        "picture.png": b"\x89PNG\0\0",
        "empty": "",
        os.fsdecode(b"l\xff"): "y\n",
        "no-end": "b",
    }
    files, patches = changed(before, after, prepare)
    shown = {
        path: (file.status, file.kind, file.added, file.deleted) for path, file in files.items()
    }
    assert shown == {
        "becomes-link": ("type changed", "link", 1, 1),
        "copied.py": ("modified", "file", 1, 0),
        "copy of copied.py": ("copied", "file", 1, 0),
        "empty": ("added", "file", 0, 0),
        "folder": ("deleted", "file", 0, 1),
        "folder/inner": ("added", "file", 1, 0),
        "gone.txt": ("deleted", "file", 0, 1),
        "l\udcff": ("added", "file", 1, 0),
        "new\nname.py": ("renamed", "file", 0, 0),
        "no-end": ("modified", "file", 1, 1),
        "picture.png": ("added", "file", None, None),
        "run.sh": ("modified", "file", 0, 0),
        "vendor/lib": ("added", "submodule", 1, 0),
    }
    assert files["new\nname.py"].old_path == "moved.py"
    assert files["copy of copied.py"].old_path == "copied.py"
    assert (files["run.sh"].has_new_mode, files["run.sh"].new_mode) == (True, "100755")
    assert [kind for kind, _ in patches["no-end"]] == ["hunk", "del", "note", "add", "note"]
    assert patches["picture.png"] == []


def test_a_patch_whose_sections_do_not_fit_the_files_is_not_assigned():
    files = [ChangedFile("a", "modified"), ChangedFile("b", "type changed")]
    assert assign_sections(files, [[("add", b"+1")], [("del", b"-2")], [("add", b"+3")]]) == {
        "a": [("add", b"+1")],
        "b": [("del", b"-2"), ("add", b"+3")],
    }
    for count in (2, 4):
        with pytest.raises(ValueError, match="sections than files"):
            assign_sections(files, [[]] * count)


def test_records_without_any_file_and_an_empty_patch_are_read():
    assert (parse_changes(b""), split_patch(b"")) == ([], [])


def test_the_same_commit_has_no_changes(laptop, repository):
    commit = laptop.commit("main", {"a": "1"})
    repository.fetch(str(laptop.folder))
    assert isinstance(repository, Repository)
    assert repository.list_changes(commit, commit) == []
    assert repository.read_patches(commit, commit, [], is_all=True) == {}
