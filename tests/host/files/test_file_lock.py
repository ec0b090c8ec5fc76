"""Locks between processes."""

import subprocess
import sys
import time
from pathlib import Path

from host.files import file_lock

CHECKOUT = Path(__file__).resolve().parents[2]
HOLDER = (
    "import sys; from pathlib import Path; from host import locks\n"
    "with locks.held(Path(sys.argv[1]), seconds=5) as taken: print(taken, flush=True); input()"
)


def test_a_lock_has_one_holder_at_a_time(tmp_path):
    path = tmp_path / "deep" / "a.lock"
    with file_lock.held(path, seconds=0) as first, file_lock.held(path, seconds=0) as second:
        assert (first, second) == (True, False)
    with file_lock.held(path, seconds=0) as taken:
        assert taken


def test_waiting_for_a_lock_ends_when_it_is_told_to(tmp_path):
    path = tmp_path / "a.lock"
    begun = time.monotonic()
    with (
        file_lock.held(path, seconds=60),
        file_lock.held(path, seconds=60, stop=lambda: True) as second,
    ):
        assert not second
    assert time.monotonic() - begun < 1


def test_a_lock_dies_with_a_holder_that_is_killed(tmp_path):
    path = tmp_path / "a.lock"
    argv = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        with file_lock.held(path, seconds=0) as taken:
            assert not taken
        holder.kill()
    with file_lock.held(path, seconds=1) as taken:
        assert taken


def test_only_we_can_open_a_lock_and_so_hold_it(tmp_path):
    with file_lock.held(tmp_path / "lock", seconds=0):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
