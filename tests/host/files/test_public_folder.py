"""A build's output is copied, and takes no more space than the build's."""

import os
import socket

import pytest

from host.files.public_folder import copy_files, copy_public_folder, is_hidden

TERABYTE = 2**40


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "tree/dist"
    folder.mkdir(parents=True)
    return folder


def copy(output, tmp_path):
    return copy_public_folder(output.parent, output.relative_to(output.parent), tmp_path / "copy")


def measure(folder):
    """Return the bytes on the disk of the files below a folder, each counted once."""
    found = [path.lstat() for path in folder.rglob("*") if path.is_file()]
    return sum({one.st_ino: one.st_blocks for one in found}.values()) * 512


def test_holes_stay_holes(output, tmp_path):
    (output / "index.html").write_text("<h1>Hi</h1>")
    with (output / "sparse").open("wb") as file:
        file.truncate(TERABYTE)
        file.seek(2**30)
        file.write(b"in the middle")
        file.seek(TERABYTE - 3)
        file.write(b"end")
    assert copy(output, tmp_path) == []
    copied = tmp_path / "copy/sparse"
    assert copied.stat().st_size == TERABYTE
    with copied.open("rb") as file:
        file.seek(2**30)
        assert file.read(14) == b"in the middle\0"
        file.seek(TERABYTE - 4)
        assert file.read() == b"\0end"
    assert measure(tmp_path / "copy") < 2**20


def test_a_file_of_holes_only_and_an_empty_one_are_copied(output, tmp_path):
    (output / "empty").touch()
    (output / "hole").touch()
    os.truncate(output / "hole", TERABYTE)
    assert copy(output, tmp_path) == []
    assert (tmp_path / "copy/hole").stat().st_size == TERABYTE
    assert (tmp_path / "copy/empty").read_bytes() == b""


def test_a_file_with_a_thousand_names_is_copied_once(output, tmp_path):
    (output / "0").write_bytes(b"1" * 2**20)
    (output / "below").mkdir()
    for number in range(1, 1000):
        os.link(output / "0", output / ("below" if number % 2 else ".") / str(number))
    assert copy(output, tmp_path) == []
    assert measure(tmp_path / "copy") == measure(output)
    assert {len(path.read_bytes()) for path in (tmp_path / "copy/below").iterdir()} == {2**20}


def test_names_that_the_copy_leaves_out_do_not_come_back_by_a_second_name(output, tmp_path):
    (output / ".env").write_text("SECRET=1")
    (output / "public").write_text("1")
    os.link(output / "public", output / ".hidden")
    assert copy(output, tmp_path) == [".env", ".hidden"]
    assert sorted(os.listdir(tmp_path / "copy")) == ["public"]
    assert is_hidden([".env"])


def test_special_files_and_links_are_left_out(output, tmp_path, monkeypatch):
    os.mkfifo(output / "fifo")
    (output / "link").symlink_to("/etc/passwd")
    monkeypatch.chdir(output)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    odd = os.fsdecode(b"\xff\n\x1b[2J")
    (output / odd).write_text("1")
    assert copy(output, tmp_path) == ["fifo", "link", "socket"]
    assert (tmp_path / "copy" / odd).read_text() == "1"


def test_a_changed_copy_changes_no_other(output, tmp_path):
    (output / "a").write_text("1")
    os.link(output / "a", output / "b")
    for name in ("first", "second"):
        folder = os.open(output, os.O_RDONLY)
        copy_files(folder, tmp_path / name)
        os.close(folder)
    (tmp_path / "first/a").write_text("2")
    assert (output / "a").read_text() == (tmp_path / "second/b").read_text() == "1"
