"""Daemons that are forked from a process with its code loaded, tried in a process of their own."""

import os
import signal
import subprocess
import sys

import pytest

from host.config import HOME
from host.deadline import wait_until
from host.process import process_table

OWNER = """
import sys, time
from pathlib import Path
from host.process.fork_server import ForkServer

log = Path(sys.argv[1])
LOADED = bytearray(b"x") * (32 * 1024 * 1024)

def work():
    print("ready", len(LOADED), flush=True)
    time.sleep(600)

server = ForkServer("tested", work)
for line in sys.stdin:
    if line.strip() == "close":
        server.close()
        print("closed", flush=True)
    else:
        print(server.fork(log).pid, flush=True)
"""


@pytest.fixture
def owner(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "work.log")],
        cwd=HOME,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    yield process
    process.kill()
    process.wait()


def ask(owner, line):
    owner.stdin.write(f"{line}\n")
    return owner.stdout.readline().strip()


def fork(owner, log):
    """Return the pid of a new process of `work`, once it has written to its log."""
    before = log.read_text().count("ready") if log.exists() else 0
    pid = int(ask(owner, "fork"))
    assert wait_until(
        lambda: log.exists() and log.read_text().count("ready") == before + 1, seconds=60.0
    )
    return pid


def has_ended(pid):
    return wait_until(lambda: process_table.find_process(pid) is None, seconds=60.0)


def test_each_fork_is_a_new_process_in_a_session_of_its_own_with_its_output_in_the_log(
    owner, tmp_path
):
    log = tmp_path / "work.log"
    first, second = fork(owner, log), fork(owner, log)
    assert first != second
    assert {os.getsid(first), os.getsid(second)} == {first, second}
    assert log.read_text() == f"ready {32 * 1024 * 1024}\n" * 2


def test_a_fork_shares_the_memory_that_was_loaded_before(owner, tmp_path):
    pid = fork(owner, tmp_path / "work.log")
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        private = next(line for line in lines if line.startswith("Private_Dirty:"))
    assert int(private.split()[1]) < 16 * 1024  # KiB, of the 32 MiB and the interpreter


def test_a_fork_that_ended_leaves_no_zombie_and_another_can_follow(owner, tmp_path):
    first = fork(owner, tmp_path / "work.log")
    os.kill(first, signal.SIGTERM)
    assert has_ended(first)
    assert fork(owner, tmp_path / "work.log") != first


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_and_its_forks_end_with_their_owner(owner, tmp_path, how):
    pid = fork(owner, tmp_path / "work.log")
    server = process_table.find_process(pid).parent
    owner.send_signal(how)
    assert has_ended(pid)
    assert has_ended(server)


def test_closing_the_server_ends_its_forks(owner, tmp_path):
    pid = fork(owner, tmp_path / "work.log")
    assert ask(owner, "close") == "closed"
    assert has_ended(pid)


def test_a_process_with_threads_gets_no_fork_server():
    code = (
        "import threading, time\n"
        "from host.process.fork_server import ForkServer\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "try:\n    ForkServer('late', print)\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True)
    assert done.stdout == "a fork server is made before any thread is started\n"
