"""Giving, taking back and deleting trees that contain links to files outside."""

import os
import stat

import pytest

from host.errors import Refused
from host.files import ownership, safe_walk
from host.process.users import User


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def tree(open_path):
    root, outside = open_path / "tree", open_path / "outside"
    (root / "folder").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("x")
    (outside / "file").chmod(0o600)
    (root / "folder" / "program").write_text("x")
    (root / "folder" / "program").chmod(0o4777)
    (root / "data").write_text("x")
    (root / "to-file").symlink_to(outside / "file")
    (root / "to-folder").symlink_to(outside)
    return root


def test_a_tree_that_is_taken_back_is_read_only(tree):
    ownership.take_back(tree)
    assert mode(tree) == mode(tree / "folder") == 0o555
    assert mode(tree / "folder" / "program") == 0o555
    assert mode(tree / "data") == 0o444


def test_the_targets_of_links_are_not_changed(tree, open_path):
    ownership.take_back(tree)
    assert mode(open_path / "outside" / "file") == 0o600
    ownership.delete_tree(tree)
    assert (open_path / "outside" / "file").exists()
    assert not tree.exists()


def test_deleting_an_absent_tree_succeeds(open_path):
    ownership.delete_tree(open_path / "nothing")


@pytest.mark.root
def test_every_entry_is_given_and_taken_back(tree, open_path):
    ownership.give_tree(tree, User(60999, 60999))
    entries = [tree, *tree.rglob("*")]
    assert {path.lstat().st_uid for path in entries} == {60999}
    assert (open_path / "outside" / "file").stat().st_uid == os.getuid()
    ownership.take_back(tree)
    assert {path.lstat().st_uid for path in entries} == {0}


def test_without_a_user_the_owner_does_not_change(tree):
    ownership.give_tree(tree, None)
    assert tree.stat().st_uid == os.getuid()


LEVELS = 1500  # above Python's recursion limit and the limit of open files; 15,000 characters


def run_as(user, work):
    """Call `work` in a child that has become the user; fail if it raises."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def create_deep_tree(root, levels=LEVELS):
    """Create nested folders, as a build could, with a file and a link in the deepest."""
    root.mkdir()
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("folder-two", dir_fd=descriptor)
        inner = os.open("folder-two", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.symlink("/etc/passwd", "link", dir_fd=descriptor)
    os.close(descriptor)
    return root


def test_a_tree_of_any_depth_is_deleted(open_path):
    root = create_deep_tree(open_path / "deep")
    ownership.delete_tree(root)
    assert not root.exists()


@pytest.mark.root
def test_a_tree_of_any_depth_is_deleted_by_an_ordinary_user(open_path):
    root = create_deep_tree(open_path / "deep")
    (root / "folder-two" / "closed").mkdir(mode=0)
    user = User(60999, 60999)
    ownership.give_tree(root, user)
    open_path.chmod(0o777)
    run_as(user, lambda: ownership.delete_tree(root))
    assert not root.exists()


@pytest.mark.root
@pytest.mark.parametrize("first_mode", [0o770, 0o700])
def test_the_user_who_shares_entries_of_a_tree_can_enter_it(open_path, monkeypatch, first_mode):
    """A home is ours, with the user's group; what the user closes there only that user can open."""
    ours, theirs, home = User(60999, 60999), User(60998, 60998), open_path / "home"
    home.mkdir()
    home.chmod(first_mode)
    os.chown(home, ours.uid, theirs.gid)
    open_path.chmod(0o777)

    def share(root, user):
        assert (user, mode(root), root.stat().st_gid) == (theirs, 0o770, theirs.gid)

    monkeypatch.setattr(ownership, "_find_other_owners", lambda root: [theirs])
    monkeypatch.setattr(ownership, "_share_with_us", share)
    run_as(ours, lambda: ownership.delete_tree(home))
    assert not home.exists()


@pytest.mark.root
def test_a_tree_of_any_depth_is_given(open_path):
    root = create_deep_tree(open_path / "deep")
    ownership.give_tree(root, User(60999, 60999))
    owners = {
        os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_uid
        for folder in safe_walk.walk_folders(root)
        for name in [*folder.folders, *folder.names]
    }
    assert owners == {60999}
    ownership.delete_tree(root)


@pytest.mark.parametrize("levels", [LEVELS, 190])  # 190 have a path that is too long
def test_taking_back_a_tree_that_is_too_deep_is_refused(open_path, levels):
    root = create_deep_tree(open_path / "deep", levels)
    with pytest.raises(Refused, match="nested deeper") as caught:
        ownership.take_back(root)
    assert caught.value.code == "build_failed"
    ownership.delete_tree(root)


def test_a_folder_that_is_moved_during_the_walk_raises(open_path):
    (open_path / "tree" / "one" / "two").mkdir(parents=True)
    (open_path / "elsewhere").mkdir()
    seen = safe_walk.walk_folders(open_path / "tree")
    assert [list(next(seen).parts) for _ in range(3)] == [[], ["one"], ["one", "two"]]
    (open_path / "tree" / "one" / "two").rename(open_path / "elsewhere" / "two")
    with pytest.raises(OSError, match="was moved"):
        next(seen)


@pytest.mark.root
def test_a_sealed_tree_is_reopened_but_for_files_of_the_shared_install(tree, open_path):
    (open_path / "shared").write_text("of all trees")
    (tree / "folder" / "linked").hardlink_to(open_path / "shared")
    ownership.take_back(tree)
    ownership.reopen_tree(tree, User(60999, 60999))
    changed = [tree, tree / "folder", tree / "data", tree / "folder" / "program"]
    assert {path.stat().st_uid for path in changed} == {60999}
    assert all(mode(path) & 0o200 for path in changed)
    assert (open_path / "shared").stat().st_uid == 0
    assert mode(open_path / "shared") == 0o444
    assert (open_path / "outside" / "file").stat().st_uid == os.getuid()


def test_a_copy_back_that_was_interrupted_between_its_renames_is_completed(tree):
    copy, old = tree.with_name(".tree.0a"), tree.with_name(".tree.0a.old")
    tree.rename(old)
    (copy / "folder").mkdir(parents=True)
    ownership.take_back(tree)
    assert mode(tree) == mode(tree / "folder") == 0o555


@pytest.mark.root
def test_under_systemd_a_tree_is_sealed_for_the_user_who_built_in_it(tree, open_path, monkeypatch):
    """Another user's files become copies of ours, and our own stay the same files."""
    ours, users = User(60999, 60999), User(60998, 60998)
    open_path.chmod(0o777)
    for path in (tree, tree / "folder", tree / "data"):
        os.chown(path, ours.uid, ours.gid)
    (tree / "folder" / "program").chmod(0o755)
    os.chown(tree / "folder" / "program", users.uid, users.gid)
    kept = (tree / "data").stat().st_ino
    monkeypatch.setattr(ownership, "_find_other_owners", lambda root: [users])
    monkeypatch.setattr(ownership, "_share_with_us", lambda root, user: None)
    run_as(ours, lambda: ownership.take_back(tree))
    program = (tree / "folder" / "program").stat()
    assert (program.st_uid, stat.S_IMODE(program.st_mode)) == (ours.uid, 0o555)
    assert ((tree / "data").stat().st_ino, mode(tree / "data")) == (kept, 0o444)
    assert mode(tree) == mode(tree / "folder") == 0o555
    assert sorted(path.name for path in open_path.iterdir()) == ["outside", "tree"]


def test_another_users_tree_is_copied_in_no_more_space_than_it_takes(tmp_path, monkeypatch):
    tree, copied = tmp_path / "tree", tmp_path / "copy"
    (tree / "below").mkdir(parents=True)
    copied.mkdir()
    (tree / "sparse").touch()
    os.truncate(tree / "sparse", 2**40)
    (tree / "program").write_text("1")
    (tree / "program").chmod(0o755)
    os.link(tree / "program", tree / "second")
    os.mkfifo(tree / "fifo")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)  # the files are another's
    copy = ownership._TreeCopy({})
    for name in ("sparse", "program", "second", "fifo"):
        copy.link_or_copy(str(tree / name), str(copied / name))
    assert sorted(os.listdir(copied)) == ["program", "second", "sparse"]
    assert (copied / "sparse").stat().st_size == 2**40
    assert (copied / "sparse").stat().st_blocks < 100
    assert (copied / "program").samefile(copied / "second")
    assert not (copied / "program").samefile(tree / "program")
    assert (copied / "program").stat().st_mode & 0o777 == 0o755
