"""Atomic writes and link changes, opening files below a folder, log files."""

import os
import stat
from pathlib import Path

import pytest

from host.errors import Refused
from host.files import log_files, safe_files
from host.process.users import User


def test_a_file_is_written_with_its_mode_and_no_temporary_file_stays(tmp_path):
    path = tmp_path / "spec.json"
    path.write_bytes(b"old")
    safe_files.write_atomic(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_is_not_affected(tmp_path):
    path = tmp_path / "spec.json"
    safe_files.write_atomic(path, b"old")
    with path.open("rb") as reader:
        safe_files.write_atomic(path, b"new and longer")
        assert reader.read() == b"old"


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "spec.json"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        safe_files.write_atomic(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_a_link_and_not_its_target(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"kept")
    path = tmp_path / "spec.json"
    path.symlink_to(elsewhere)
    safe_files.write_atomic(path, b"new")
    assert elsewhere.read_bytes() == b"kept"
    assert not path.is_symlink()


@pytest.mark.root
def test_a_file_is_created_for_another_user(tmp_path):
    path = tmp_path / ".env"
    safe_files.write_atomic(path, b"A=1", 0o400, owner=User(61_990, 61_991))
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (61_990, 61_991, 0o400)


def test_a_link_is_created_and_changed(tmp_path):
    link = tmp_path / "current"
    for target in ("activations/1", "activations/2"):
        safe_files.replace_link(target, link)
        assert str(link.readlink()) == target
    assert list(tmp_path.iterdir()) == [link]


def test_a_folder_with_the_links_name_is_not_removed(tmp_path):
    folder = tmp_path / "current"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        safe_files.replace_link("elsewhere", folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_link_is_created_in_the_open_folder_even_if_its_path_was_replaced(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with safe_files.folder_beneath(tmp_path, ("a", "b")) as folder:
        (tmp_path / "a").rename(tmp_path / "moved")
        (tmp_path / "a").symlink_to("other")
        for target in ("one", "two"):
            safe_files.replace_link(target, Path("link"), folder)
    assert str((tmp_path / "moved" / "b" / "link").readlink()) == "two"
    assert list((tmp_path / "moved" / "b").iterdir()) == [tmp_path / "moved" / "b" / "link"]
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("parts", [("out",), ("a", "out"), ("file",)])
def test_a_path_with_a_link_or_a_file_in_it_is_refused(tmp_path, parts):
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "a" / "out").symlink_to("..")
    (tmp_path / "root" / "file").touch()
    with (
        pytest.raises(Refused) as refusal,
        safe_files.folder_beneath(tmp_path / "root", parts),
    ):
        pass
    assert refusal.value.code == "path_invalid"


def test_a_file_below_the_root_is_opened(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "log").write_bytes(b"found")
    with safe_files.open_beneath(tmp_path, "a/b/log") as file:
        assert file.read() == b"found"


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/etc/passwd", "..", "../secret", "a/../../secret", "a/..", ".", "./log", "a//log",
        "a/", "log\0.txt", "out", "out/secret", "a/out", "a", "fifo", "log/x", "x" * 300,
    ],
)  # fmt: skip
def test_a_path_that_leaves_the_root_or_is_not_a_file_is_refused(tmp_path, path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "log").write_bytes(b"found")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "out").symlink_to(tmp_path)
    (root / "a" / "out").symlink_to("../../secret")
    os.mkfifo(root / "fifo")
    with pytest.raises(Refused) as refusal:
        safe_files.open_beneath(root, path)
    assert (refusal.value.code, refusal.value.status) == ("path_invalid", 400)


def test_an_absent_file_below_the_root_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        safe_files.open_beneath(tmp_path, "nowhere/log")


def test_the_last_lines_are_read(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\nthree\n")
    assert safe_files.read_tail(log, 2) == "two\nthree"
    assert safe_files.read_tail(log, since=4) == "two\nthree"
    assert safe_files.read_tail(log, since=14) == ""


def test_a_log_that_was_truncated_is_read_from_its_start(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("an error\n")
    assert safe_files.read_tail(log, since=10 * 1024 * 1024) == "an error"


def test_the_last_lines_of_a_large_log_are_limited(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff" * 1_000_000)
    assert len(safe_files.read_tail(log)) == safe_files.TAIL_BYTES


def test_the_last_lines_of_a_large_log_begin_with_a_whole_line(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("é" * 40_000 + "\nsecond\n" + "x" * 100 + "\n")
    assert safe_files.read_tail(log) == "second\n" + "x" * 100
    # What the caller asks for begins where it says.
    assert safe_files.read_tail(log, since=log.stat().st_size - 4) == "xxx"


def test_an_absent_log_has_no_last_lines(tmp_path):
    assert safe_files.read_tail(tmp_path / "a.log") == ""


def test_several_writers_append_to_one_log(tmp_path):
    log = tmp_path / "deep" / "a.log"
    with log_files.open_append(log) as first, log_files.open_append(log) as second:
        first.write(b"1")
        second.write(b"2")
        first.write(b"3")
    assert log.read_bytes() == b"123"


def test_a_log_above_its_limit_is_rotated_and_one_old_log_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "LOG_BYTES", 4)
    log, old = tmp_path / "a.log", tmp_path / "a.log.1"
    old.write_text("older")
    log.write_text("1234")
    log_files.rotate(log)
    assert log.read_text() == "1234"
    log.write_text("12345")
    log_files.rotate(log)
    assert not log.exists()
    assert old.read_text() == "12345"
