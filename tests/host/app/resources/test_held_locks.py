"""Locks of running processes are held on copies of their files and databases too."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from host.app.resources import held_locks
from host.app.resources.held_locks import FileLock, parse_locks
from host.postgres.administration import DatabaseAdmin
from tests.slots.runtime.conftest import config, folder

__all__ = ["config", "folder"]

LOCKS = """\
1: FLOCK  ADVISORY  WRITE 511 fe:00:2465907 0 EOF
1: -> FLOCK  ADVISORY  WRITE 512 fe:00:2465907 0 EOF
2: POSIX  ADVISORY  WRITE 511 fe:00:2465909 5 14
3: POSIX  ADVISORY  READ 511 fe:00:2465910 128 128
4: OFDLCK ADVISORY  WRITE -1 00:4c:25353 0 EOF
5: LEASE  ACTIVE    READ 7 00:4c:25354 0 EOF
"""
HOLDER = """\
import fcntl, os, sys
os.chdir(sys.argv[1])
files = {name: open(name, "r+") for name in ("flock", "shared", "inner/posix")}
fcntl.flock(files["flock"], fcntl.LOCK_EX)
fcntl.flock(files["shared"], fcntl.LOCK_SH)
fcntl.lockf(files["inner/posix"], fcntl.LOCK_EX, 10, 5)
print("locked", flush=True)
sys.stdin.readline()
fcntl.flock(files["flock"], fcntl.LOCK_UN)
print("unlocked", flush=True)
sys.stdin.read()
"""


def test_exclusive_locks_that_are_held_are_read():
    assert parse_locks(LOCKS) == {
        FileLock("FLOCK", 511, (254, 0), 2465907, 0, 0),
        FileLock("POSIX", 511, (254, 0), 2465909, 5, 10),
        FileLock("OFDLCK", -1, (0, 76), 25353, 0, 0),
    }


@pytest.fixture
def folders(tmp_path):
    """A folder in whose files another process has locks, and a copy."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "inner").mkdir(parents=True)
    for name in ("flock", "shared", "free", "inner/posix"):
        (source / name).write_text("text")
    command = [sys.executable, "-c", HOLDER, str(source)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:
        assert held.stdout.readline() == "locked\n"
        shutil.copytree(source, target)
        yield source, target, held
        held.stdin.close()


def hold(source, target, uid=None, stop=lambda: False):
    return held_locks.hold_file_locks(source, target, os.getuid() if uid is None else uid, stop)


TRY = """\
import fcntl, sys
file = open(sys.argv[1], "r+")
try:
    take = fcntl.flock if sys.argv[2] == "flock" else fcntl.lockf
    take(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("locked")
"""


def is_locked(path, kind):
    """Return whether another process is refused an exclusive lock on the file."""
    command = [sys.executable, "-c", TRY, str(path), kind]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout != ""


def test_the_copies_are_locked_as_the_files_are(folders):
    source, target, _ = folders
    with hold(source, target) as held:
        assert held.names == ("flock", "inner/posix")
        assert held.are_kept()
        assert is_locked(target / "flock", "flock")
        assert is_locked(target / "inner/posix", "posix")
        assert not is_locked(target / "shared", "flock")
        assert not is_locked(target / "free", "flock")
    assert not is_locked(target / "flock", "flock")
    assert not is_locked(target / "inner/posix", "posix")


def test_what_an_application_puts_in_place_of_a_copy_is_not_opened(folders, tmp_path):
    source, target, _ = folders
    (tmp_path / "secret").write_text("text")
    (target / "flock").unlink()
    (target / "flock").symlink_to(tmp_path / "secret")
    shutil.rmtree(target / "inner")
    (target / "inner").symlink_to(source / "inner")
    with hold(source, target) as held:
        assert held.names == ()


def test_a_lock_that_the_process_gives_up_is_not_kept(folders):
    source, target, process = folders
    with hold(source, target) as held:
        assert held.are_kept()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "unlocked\n"
        assert not held.are_kept()


def test_a_file_of_flock_needs_not_be_writable(folders):
    source, target, _ = folders
    with hold(source, target):
        assert read_access(target / "flock") == os.O_RDONLY
        assert read_access(target / "inner/posix") == os.O_RDWR


def read_access(path):
    """Return how this process has opened the file."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own
            if link.readlink() == path:
                info = Path(f"/proc/self/fdinfo/{link.name}").read_text()
                return int(re.search(r"flags:\s+(\d+)", info)[1], 8) & os.O_ACCMODE
    return None


def test_locks_of_another_user_are_left_out(folders):
    source, target, process = folders
    with hold(source, target, os.getuid() + 1) as held:
        assert held.names == ()
    assert held_locks._may_be_of(os.getuid(), process.pid)
    # One that has ended may have left its lock to its children.
    assert held_locks._may_be_of(os.getuid() + 1, 2**30)
    assert held_locks._may_be_of(os.getuid() + 1, -1)


def test_a_lock_on_the_file_of_that_number_of_another_file_system_is_left_out(
    folders, tmp_path, monkeypatch
):
    source, target, _ = folders
    shown = held_locks.LOCKS.read_text()
    inode = (source / "flock").stat().st_ino
    (tmp_path / "locks").write_text(re.sub(rf"\w+:\w+:{inode} ", f"ff:fe:{inode} ", shown))
    monkeypatch.setattr(held_locks, "LOCKS", tmp_path / "locks")
    with hold(source, target) as held:
        assert held.names == ("inner/posix",)
    # Where the mounts are hidden, the number decides.
    monkeypatch.setattr(held_locks, "MOUNTS", tmp_path / "missing")
    with hold(source, target) as held:
        assert held.names == ("flock", "inner/posix")


def test_only_the_copies_are_walked(folders, tmp_path):
    source, target, _ = folders
    (tmp_path / "empty").mkdir()
    asked = []
    with hold(source, tmp_path / "empty", stop=lambda: asked.append(1)) as held:
        assert (held.names, len(asked)) == ((), 1)
    with hold(source, target, stop=lambda: asked.append(1)) as held:
        assert len(asked) == 3
    with hold(source, target, stop=lambda: True) as held:
        assert held.names == ()


def test_a_lock_that_is_held_for_a_moment_is_left_out(monkeypatch):
    monkeypatch.setattr(held_locks, "PAUSE_SECONDS", 0)
    samples = iter([{1, 2}, {1, 2, 3}, {1, 4}])
    assert held_locks.find_in_all_samples(lambda: next(samples)) == {1}


KEYS = [(7,), (-7,), (2**40 + 3,), (1, 2), (-1, -(2**31))]
SOURCE, TARGET = "app_preview_1", "app_preview_2"


@pytest.fixture
def admin(config):
    admin = DatabaseAdmin(config)
    yield admin
    for name in (SOURCE, TARGET):
        admin.drop(name)


def test_advisory_locks_are_held_in_the_other_database(admin):
    passwords = {name: admin.ensure_role(name) for name in (SOURCE, TARGET)}
    sessions = []
    for name, password in passwords.items():
        admin.create(name, name)
        server = admin.config.preview_admin_database_url
        url = make_conninfo(server, user=name, password=password, dbname=name)
        sessions.append(psycopg.connect(url, autocommit=True))
    holder, other = sessions
    for key in KEYS:
        marks = ", ".join(["%s"] * len(key))
        holder.execute(f"SELECT pg_advisory_lock({marks})", key)
    holder.execute("SELECT pg_advisory_lock_shared(8)")

    def find_refused():
        other.execute("SELECT pg_advisory_unlock_all()")
        attempt = "SELECT pg_try_advisory_lock({})"
        return [
            key
            for key in [*KEYS, (8,)]
            if not other.execute(attempt.format(", ".join(map(str, key)))).fetchone()[0]
        ]

    with holder, other:
        with held_locks.hold_advisory_locks(admin, SOURCE, SOURCE, TARGET) as held:
            assert held.names == (held_locks.ADVISORY_NAME,)
            assert held.are_kept()
            assert find_refused() == KEYS
        deadline = time.monotonic() + 60  # the server ends a session after its client has left
        while find_refused() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert find_refused() == []
        with held_locks.hold_advisory_locks(admin, SOURCE, TARGET, TARGET) as held:
            assert held.names == ()
        # A transaction's lock ends with it.
        holder.execute("BEGIN")
        with held_locks.hold_advisory_locks(admin, SOURCE, SOURCE, TARGET) as held:
            assert held.names == ()
