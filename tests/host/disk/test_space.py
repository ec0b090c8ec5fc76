"""What counts as an application's disk space, whatever it does to its files."""

import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from host.disk import space
from host.disk.space import Place
from tests.accounts.test_host_authentication import run_as_user

MEBIBYTE = 2**20


def fill(path, megabytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * megabytes * MEBIBYTE)


def measure_mb(folder, enough_mb, uid=None):
    return space.measure([Place(folder, uid)], enough_mb).mb


def test_each_file_counts_once_however_many_names_it_has(tmp_path):
    fill(tmp_path / "a" / "file", 3)
    os.link(tmp_path / "a" / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("/usr")
    assert measure_mb(tmp_path, 100) == 3
    assert space.measure([Place(tmp_path), Place(tmp_path / "a")], 100).mb == 3
    assert space.measure([Place(tmp_path / "absent")], 100) == space.Space(0)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_empty_files_and_folders_count_and_end_the_counting(tmp_path, make, monkeypatch):
    for number in range(300):
        make(tmp_path / str(number))
    assert measure_mb(tmp_path, 100) == 1
    real, looked = os.stat, []
    monkeypatch.setattr(
        os, "stat", lambda name, **options: looked.append(name) or real(name, **options)
    )
    assert measure_mb(tmp_path, 0) == 1
    assert len(looked) == 256


def test_the_counting_ends_above_what_is_enough(tmp_path):
    fill(tmp_path / "a" / "file", 3)
    assert measure_mb(tmp_path, 1) == 2


def test_only_the_files_of_the_user_count_where_one_is_given(tmp_path):
    fill(tmp_path / "file", 3)
    assert measure_mb(tmp_path, 100, os.getuid()) >= 3
    assert measure_mb(tmp_path, 100, 4_000_000) == 0


def test_files_that_are_deleted_meanwhile_do_not_end_the_counting(tmp_path, monkeypatch):
    for number in range(3):
        fill(tmp_path / str(number), 1)
    real = os.stat

    def delete_first(name, **options):
        (tmp_path / "0").unlink(missing_ok=True)
        return real(name, **options)

    monkeypatch.setattr(os, "stat", delete_first)
    assert measure_mb(tmp_path, 100) == 2


@pytest.mark.parametrize("depth", [3, space.MAX_OPEN + 40])
def test_files_count_at_any_depth(tmp_path, depth):
    fill(tmp_path.joinpath(*["d"] * depth, "file"), 2)
    assert measure_mb(tmp_path, 100) == 2


def test_a_folder_that_is_moved_meanwhile_does_not_end_the_counting(tmp_path, monkeypatch):
    """An application could otherwise keep moving one, and never be measured."""
    inner = {}
    for name in ("a", "b", "c"):
        fill(tmp_path / name / "inner" / "file", 2)
        inner[(tmp_path / name / "inner").stat().st_ino] = tmp_path / name / "inner"
    (tmp_path / "elsewhere").mkdir()
    real = os.stat

    def move(name, **options):
        path = inner.pop(os.fstat(options["dir_fd"]).st_ino, None)
        if path is not None:  # the walk is in it
            path.rename(tmp_path / "elsewhere" / path.parent.name)
        return real(name, **options)

    monkeypatch.setattr(os, "stat", move)
    found = measure_mb(tmp_path, 100)
    assert (found, inner) == (6, {})


@contextmanager
def process_of(uid, code, folder):
    """Run Python code as the user in the folder; yield once it has printed a line."""
    argv = [sys.executable, "-I", "-S", "-c", code]
    process = subprocess.Popen(
        argv, cwd=folder, user=uid, group=uid, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


OPEN = "import os\nf = open('big', 'wb')\nf.write(b'x' * (3 << 20))\nf.flush()\nos.unlink('big')\n"
MAP = "import mmap\ng = open('g', 'w+b')\ng.write(b'x' * (3 << 20))\ng.flush()\n"
MAP += "m = mmap.mmap(g.fileno(), 0)\ng.close()\nimport os\nos.unlink('g')\n"
WAIT = "print('ready', flush=True)\ninput()\n"
UID = 60_799


@pytest.fixture
def folder(tmp_path):
    """A folder that the user may enter and write to."""
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, UID, UID)
    for parent in tmp_path.parents[:3]:
        if stat.S_IMODE(parent.stat().st_mode) == 0o700:
            parent.chmod(0o711)
    tmp_path.chmod(0o711)
    return place


@pytest.mark.root
@pytest.mark.parametrize("code", [OPEN, MAP], ids=["open", "mapped"])
def test_a_deleted_file_counts_while_it_is_used(folder, code):
    with process_of(UID, code + WAIT, folder):
        assert list(folder.iterdir()) == []
        assert measure_mb(folder, 100, UID) == 3
        assert measure_mb(folder, 100, UID + 1) == 0
    assert measure_mb(folder, 100, UID) == 0


@pytest.mark.root
def test_memory_is_no_disk(folder):
    code = "import os\nf = os.memfd_create('x')\nos.write(f, b'x' * (3 << 20))\n"
    with process_of(UID, code + WAIT, folder):
        assert measure_mb(folder, 100, UID) == 0


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o700, 0o000, 0o744])
def test_a_closed_folder_is_known_to_one_who_may_not_look(folder, mode):
    fill(folder / "closed" / "file", 3)
    assert space.measure([Place(folder)], 100) == space.Space(3)
    (folder / "closed").chmod(mode)

    def look():
        return space.measure([Place(folder)], 100) == space.Space(0, is_complete=False)

    run_as_user(look, UID + 1)
    assert space.measure([Place(folder)], 100) == space.Space(3)


@pytest.mark.root
def test_another_users_deleted_files_are_known_to_be_hidden(folder):
    def look():
        return not space.measure([Place(folder, UID)], 100).is_complete

    with process_of(UID, OPEN + WAIT, folder):
        run_as_user(look, UID + 1)
