"""The tree of the changed files."""

from runs.comparison.file_tree import DEPTH, build_tree
from runs.difference import FileChange


def show(folder):
    """Return the tree as nested lists: folders as (name, count, added, deleted, …), then files."""
    folders = [(one.name, one.count, one.added, one.deleted, show(one)) for one in folder.folders]
    return [*folders, *((file.number, file.name) for file in folder.files)]


def change(path, added=1, deleted=0):
    return FileChange(path, "modified", added=added, deleted=deleted)


def test_folders_have_their_counts_and_single_ones_are_joined():
    changes = [
        change("README.md"),
        change("runs/admin/deep/a.py", 2, 1),
        change("runs/admin/deep/b.py", 3, 4),
        change("web/x.py"),
        change("web/logs/y.py", None, None),
    ]
    assert show(build_tree(changes)) == [
        ("runs/admin/deep", 2, 5, 5, [(2, "a.py"), (3, "b.py")]),
        ("web", 2, 1, 0, [("logs", 1, 0, 0, [(5, "y.py")]), (4, "x.py")]),
        (1, "README.md"),
    ]


def test_a_file_and_a_folder_of_one_name_are_both_shown():
    tree = build_tree([change("a"), change("a/b")])
    assert show(tree) == [("a", 1, 1, 0, [(2, "b")]), (1, "a")]


def test_folders_that_are_too_deep_are_part_of_the_names():
    paths = ["/".join(["d"] * level + ["f"]) for level in range(1, 300)]
    folder, levels = build_tree([change(path) for path in paths]), 0
    while folder.folders:
        folder, levels = folder.folders[0], levels + 1
    assert levels == DEPTH
    assert folder.files[-1].name == "/".join(["d"] * (299 - DEPTH) + ["f"])
