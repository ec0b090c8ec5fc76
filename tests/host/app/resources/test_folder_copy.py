"""A folder is copied as its user, with everything that an application may keep in it."""

import os
import socket
import stat

import pytest

from host.app.resources.folder_copy import FolderCopy


@pytest.fixture
def folders(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    return source, target


def fill(folders, tmp_path, *, limit_mb=100):
    copy = FolderCopy(None, limit_mb, tmp_path / "log", lambda: False, "a-job")
    return copy.fill(*folders)


def test_files_of_every_kind_are_copied_as_what_they_are(folders, tmp_path, monkeypatch):
    source, target = folders
    (source / "-rf").write_text("a name like an option")
    (source / os.fsdecode(b"not \xff utf-8\n")).write_text("1")
    (source / ".hidden").mkdir(mode=0o700)
    (source / ".hidden/data").write_text("2")
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo")
    monkeypatch.chdir(source)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("app.sock")
    with (source / "sparse").open("wb") as file:
        file.truncate(10 * 2**30)
    assert fill(folders, tmp_path) == ""
    assert sorted(os.listdir(target)) == sorted(os.listdir(source))
    assert (target / ".hidden/data").read_text() == "2"
    assert os.readlink(target / "link") == "/etc/passwd"
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    assert stat.S_ISSOCK((target / "app.sock").stat().st_mode)
    assert (target / "sparse").stat().st_blocks < 100


def test_an_empty_folder_is_copied(folders, tmp_path):
    assert fill(folders, tmp_path) == ""


def test_a_folder_above_the_limit_is_not_copied(folders, tmp_path):
    source, target = folders
    (source / "large").write_bytes(b"1" * 3 * 2**20)
    assert fill(folders, tmp_path, limit_mb=2) == "uses more than 2 MiB"
    assert list(target.iterdir()) == []


def test_what_cannot_be_copied_is_reported_and_the_rest_is_copied(folders, tmp_path):
    source, target = folders
    (source / "kept").write_text("1")
    (target / "kept").mkdir()  # no file can take its place
    (source / "other").write_text("2")
    assert fill(folders, tmp_path) == "has files that could not be copied"
    assert (target / "other").read_text() == "2"
    assert "kept" in (tmp_path / "log").read_text()
