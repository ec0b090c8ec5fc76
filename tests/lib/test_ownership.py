"""ownership.py: trees that change hands, with links in them that lead elsewhere."""

import os
import stat

import pytest

from oroboros.lib import ownership
from oroboros.lib.process import User


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def tree(tmp_path):
    root, outside = tmp_path / "tree", tmp_path / "outside"
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


def test_a_tree_that_is_taken_back_is_readable_and_no_longer_writable(tree):
    ownership.take(tree)
    assert mode(tree) == mode(tree / "folder") == 0o555
    assert mode(tree / "folder" / "program") == 0o555
    assert mode(tree / "data") == 0o444


def test_what_links_lead_to_is_left_alone(tree, tmp_path):
    ownership.take(tree)
    assert mode(tmp_path / "outside" / "file") == 0o600
    ownership.delete(tree)
    assert (tmp_path / "outside" / "file").exists()
    assert not tree.exists()


def test_what_is_not_there_is_deleted_already(tmp_path):
    ownership.delete(tmp_path / "nothing")


@pytest.mark.root
def test_a_tree_is_given_whole_and_taken_whole(tree, tmp_path):
    ownership.give(tree, User(60999, 60999))
    entries = [tree, *tree.rglob("*")]
    assert {path.lstat().st_uid for path in entries} == {60999}
    assert (tmp_path / "outside" / "file").stat().st_uid == os.getuid()
    ownership.take(tree)
    assert {path.lstat().st_uid for path in entries} == {0}


def test_without_a_user_nothing_is_given(tree):
    ownership.give(tree, None)
    assert tree.stat().st_uid == os.getuid()
