"""The worktree of a slot."""

import os
import subprocess

import pytest

from host.git.bare_repository import Repository
from slots.runtime import worktree


@pytest.fixture
def commits(tmp_path):
    """A repository with two commits; returns their ids and its path."""
    source = tmp_path / "source"

    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        argv = ["git", *identity, "-C", str(source), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    source.mkdir()
    git("init", "-q", "-b", "main")
    ids = []
    for text in ("one", "two"):
        (source / "app.txt").write_text(text)
        (source / "folder").mkdir(exist_ok=True)
        (source / "folder" / "link").unlink(missing_ok=True)
        (source / "folder" / "link").symlink_to("/etc/passwd")
        git("add", ".")
        git("commit", "-q", "-m", text)
        ids.append(git("rev-parse", "HEAD"))
    return source, ids


@pytest.fixture
def repository(config, commits):
    from dataclasses import replace

    source, _ = commits
    roots = replace(config, git_local_roots=(source.parent,))
    repository = Repository(config.var / "repository.git", roots)
    config.var.mkdir(parents=True, exist_ok=True)
    repository.create_if_missing()
    repository.fetch(str(source))
    return repository


def test_check_out_replaces_the_worktree(config, slot, repository, commits):
    _, (first, second) = commits
    user = config.slot_user(slot)
    for commit, text in ((first, "one"), (second, "two"), (second, "two")):
        worktree.check_out(config, slot, repository, commit, user)
        assert worktree.read_commit(slot) == commit
        assert (worktree.path(slot) / "app.txt").read_text() == text
        assert not (worktree.path(slot) / ".git").exists()
    if user is not None:
        owned = [worktree.path(slot), *worktree.path(slot).rglob("*")]
        assert {path.lstat().st_uid for path in owned} == {user.uid}
        assert os.stat("/etc/passwd").st_uid == 0
        assert slot.folder.stat().st_mode & 0o777 == 0o710
    assert sorted(entry.name for entry in slot.folder.iterdir()) == ["worktree", "worktree.commit"]


def test_remove_follows_no_link_and_deletes_folders_without_rights(
    config, slot, repository, commits, tmp_path
):
    _, (first, _) = commits
    worktree.check_out(config, slot, repository, first, config.slot_user(slot))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    locked = worktree.path(slot) / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    (worktree.path(slot) / "out").symlink_to(outside)
    locked.chmod(0)
    for _ in range(2):
        worktree.remove(config, slot)
    assert worktree.read_commit(slot) is None
    assert list(slot.folder.iterdir()) == []
    assert (outside / "precious").exists()


def test_remnants_of_an_interrupted_check_out_are_removed(config, slot):
    worktree.prepare_folder(config, slot)
    (slot.folder / "fresh-1").mkdir()
    (slot.folder / ".fresh-2.partial").mkdir()
    (slot.folder / "trash-3").mkdir()
    assert worktree.read_commit(slot) is None
    worktree.remove(config, slot)
    assert list(slot.folder.iterdir()) == []


@pytest.mark.root
def test_another_slots_user_cannot_read_the_worktree(config, slot, repository, commits):
    _, (first, _) = commits
    worktree.check_out(config, slot, repository, first, config.slot_user(slot))
    for reader, can_read in ((slot, True), (config.slots[1], False)):
        user = config.slot_user(reader)
        argv = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        argv += ["cat", str(worktree.path(slot) / "app.txt")]
        assert (subprocess.run(argv, capture_output=True).returncode == 0) is can_read


DEEP = "a/" * 1500 + "file"


def test_deep_commit_is_checked_out_and_removed(config, slot, repository, commits):
    source, _ = commits

    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        argv = ["git", *identity, "-C", str(source), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("update-index", "--add", "--cacheinfo", "100644", git("hash-object", "-w", "app.txt"), DEEP)
    git("update-ref", "refs/heads/main", git("commit-tree", "-m", "deep", git("write-tree")))
    repository.fetch(str(source))
    deep = git("rev-parse", "HEAD")
    worktree.check_out(config, slot, repository, deep, config.slot_user(slot))
    assert worktree.read_commit(slot) == deep
    worktree.remove(config, slot)
    assert worktree.read_commit(slot) is None
    assert not worktree.path(slot).exists()
