"""Locks between processes."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from host.errors import Refused
from host.files.file_lock import file_lock, remove_lock_file

CHECKOUT = Path(__file__).resolve().parents[3]
HOLDER = (
    "import sys; from pathlib import Path; from host.files.file_lock import file_lock\n"
    "with file_lock(Path(sys.argv[1]), seconds=60) as taken: print(taken, flush=True); input()"
)


def test_a_held_lock_is_not_taken_again_until_it_is_released(tmp_path):
    path = tmp_path / "a.lock"
    with file_lock(path, seconds=0) as first, file_lock(path, seconds=0) as second:
        assert (first, second) == (True, False)
    with file_lock(path, seconds=0) as is_taken:
        assert is_taken


def test_the_lock_file_and_its_folders_are_created_and_the_file_stays(tmp_path):
    path = tmp_path / "deep" / "er" / "a.lock"
    with file_lock(path, seconds=0):
        pass
    assert path.read_bytes() == b""


def test_the_lock_file_can_be_opened_by_its_owner_only(tmp_path):
    with file_lock(tmp_path / "lock", seconds=0):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="lock"), file_lock(tmp_path / "lock", seconds=0):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_lock_that_stays_busy_raises_the_given_refusal(tmp_path):
    path, refusal = tmp_path / "a.lock", Refused("unit_busy", "Try again.")
    begun = time.monotonic()
    with (
        file_lock(path, seconds=0),
        pytest.raises(Refused) as raised,
        file_lock(path, seconds=0.1, refusal=refusal),
    ):
        pytest.fail("the block ran without the lock")
    assert raised.value is refusal
    assert time.monotonic() - begun >= 0.1


def test_a_lock_that_is_free_does_not_raise_the_refusal(tmp_path):
    with file_lock(tmp_path / "a", seconds=0, refusal=Refused("busy", "")) as is_taken:
        assert is_taken


@pytest.mark.alone
def test_waiting_for_a_lock_ends_when_stop_returns_true(tmp_path):
    path = tmp_path / "a.lock"
    begun = time.monotonic()
    with (
        file_lock(path, seconds=600),
        file_lock(path, seconds=600, stop=lambda: True) as second,
    ):
        assert not second
    assert time.monotonic() - begun < 100


@pytest.mark.parametrize("seconds", [60.0, None])
def test_a_waiter_takes_the_lock_when_it_is_released(tmp_path, seconds):
    path = tmp_path / "a.lock"
    taken: list[bool] = []

    def wait() -> None:
        with file_lock(path, seconds=seconds) as is_taken:
            taken.append(is_taken)

    waiter = threading.Thread(target=wait)
    with file_lock(path, seconds=0):
        waiter.start()
        waiter.join(0.1)
        assert waiter.is_alive() and taken == []
    waiter.join(60)
    assert taken == [True]


def test_an_error_in_the_block_releases_the_lock(tmp_path):
    path = tmp_path / "a.lock"
    with pytest.raises(KeyError), file_lock(path, seconds=0):
        raise KeyError
    with file_lock(path, seconds=0) as is_taken:
        assert is_taken


def test_a_killed_holder_loses_the_lock(tmp_path):
    path = tmp_path / "a.lock"
    argv = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        with file_lock(path, seconds=0) as is_taken:
            assert not is_taken
        holder.kill()
    with file_lock(path, seconds=60) as is_taken:
        assert is_taken


def test_a_held_lock_file_is_not_removed_and_a_free_one_is(tmp_path):
    path = tmp_path / "a.lock"
    with file_lock(path, seconds=0):
        assert not remove_lock_file(path)
        assert path.exists()
    assert remove_lock_file(path)
    assert list(tmp_path.iterdir()) == []


def test_a_waiter_for_a_removed_lock_file_locks_the_new_file(tmp_path):
    path, is_waiting, locked = tmp_path / "a.lock", threading.Event(), threading.Event()

    def wait_for_lock():
        with file_lock(path, seconds=60, stop=is_waiting.set) as is_taken:
            assert is_taken and path.exists()
            locked.set()

    with file_lock(path, seconds=0):
        waiter = threading.Thread(target=wait_for_lock)
        waiter.start()
        assert is_waiting.wait(60)
        path.unlink()
    assert locked.wait(60)
    waiter.join(60)
    with file_lock(path, seconds=0) as is_taken:
        assert is_taken
