"""Locks of running processes are held on copies of their files and databases too."""

import shutil
import subprocess
import sys
import time

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
sys.stdin.read()
"""


def test_exclusive_locks_that_are_held_are_read():
    assert parse_locks(LOCKS) == {
        FileLock("FLOCK", 2465907, 0, 0),
        FileLock("POSIX", 2465909, 5, 10),
        FileLock("OFDLCK", 25353, 0, 0),
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
        yield source, target
        held.stdin.close()


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
    source, target = folders
    with held_locks.hold_file_locks(source, target) as names:
        assert names == ["flock", "inner/posix"]
        assert is_locked(target / "flock", "flock")
        assert is_locked(target / "inner/posix", "posix")
        assert not is_locked(target / "shared", "flock")
        assert not is_locked(target / "free", "flock")
    assert not is_locked(target / "flock", "flock")
    assert not is_locked(target / "inner/posix", "posix")


def test_what_an_application_puts_in_place_of_a_copy_is_not_opened(folders, tmp_path):
    source, target = folders
    (tmp_path / "secret").write_text("text")
    (target / "flock").unlink()
    (target / "flock").symlink_to(tmp_path / "secret")
    shutil.rmtree(target / "inner")
    (target / "inner").symlink_to(source / "inner")
    with held_locks.hold_file_locks(source, target) as names:
        assert names == []


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
        with held_locks.hold_advisory_locks(admin, SOURCE, SOURCE, TARGET) as count:
            assert count == len(KEYS)
            assert find_refused() == KEYS
        deadline = time.monotonic() + 60  # the server ends a session after its client has left
        while find_refused() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert find_refused() == []
        with held_locks.hold_advisory_locks(admin, SOURCE, TARGET, TARGET) as count:
            assert count == 0
