"""The table of processes, compared with real ones."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from host.process import process_table
from tests.host.processes import wait_for

# The first thread ends by exit(2), which ends no other thread; the other one listens.
THREAD_THAT_OUTLIVES_THE_FIRST = """
import ctypes, platform, socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=time.sleep, args=(60,)).start()
print(listener.getsockname()[1], flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""


@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "60"], env={"NAME": "value", "LONGER_NAME": "x"}) as process:
        yield process
        process.kill()


def test_a_child_is_listed_with_its_parent_group_and_session(child):
    (entry,) = [one for one in process_table.list_processes() if one.pid == child.pid]
    assert entry == process_table.find_process(child.pid)
    assert (entry.parent, entry.session) == (os.getpid(), os.getsid(0))
    assert entry.group == os.getpgid(child.pid)
    assert entry.start_time == process_table.read_start_time(child.pid)
    assert entry.is_alive()


def test_a_process_that_ended_is_not_found(child):
    child.kill()
    child.wait()
    assert process_table.find_process(child.pid) is None
    assert process_table.read_uids(child.pid) == set()
    assert process_table.read_variable(child.pid, "NAME") is None
    assert process_table.describe_process(child.pid) == f"process {child.pid}, which has ended"


def test_a_process_whose_first_thread_has_ended_lives_until_its_last_thread_ends():
    argv = [sys.executable, "-c", THREAD_THAT_OUTLIVES_THE_FIRST]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        port = int(process.stdout.readline())
        assert wait_for(lambda: ") Z " in Path(f"/proc/{process.pid}/stat").read_text())
        entry = process_table.find_process(process.pid)
        assert entry in process_table.list_processes()
        os.kill(process.pid, signal.SIGKILL)
        assert wait_for(lambda: not entry.is_alive())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))  # its sockets are closed by then


def test_a_variable_is_read_by_its_whole_name(child):
    read = lambda name: process_table.read_variable(child.pid, name)  # noqa: E731
    assert (read("NAME"), read("LONGER_NAME"), read("AME"), read("OTHER")) == (
        "value", "x", None, None,
    )  # fmt: skip


def test_a_name_with_blanks_and_parentheses_does_not_shift_the_fields(tmp_path):
    program = tmp_path / "a) Z (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        entry = process_table.find_process(process.pid)
        assert entry is not None and entry.parent == os.getpid()
        process.kill()


def test_a_process_is_described_without_its_arguments(child):
    # The kernel sets the new name at exec shortly after Popen has returned.
    text = f"process {child.pid} (sleep)"
    assert wait_for(lambda: process_table.describe_process(child.pid) == text)


def test_a_name_that_a_process_gave_itself_is_told_without_control_characters():
    rename = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a\\xff\\x1b[2J\\nb');"  # PR_SET_NAME
        " print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", rename]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        told = process_table.describe_process(process.pid)
        assert told == f"process {process.pid} (a\N{REPLACEMENT CHARACTER}?[2J?b)"
        process.stdin.close()


def test_this_process_has_its_uids_and_a_boot_id():
    assert os.getuid() in process_table.read_uids(os.getpid())
    assert len(process_table.read_boot_id()) == 36


def test_processes_that_the_host_hides_are_left_out(child, monkeypatch):
    opened = os.open

    def hide(path, *arguments, **keywords):
        if str(path).startswith(f"/proc/{child.pid}/"):
            raise PermissionError(1, "Operation not permitted", path)  # with hidepid=1
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", hide)
    assert child.pid not in {entry.pid for entry in process_table.list_processes()}
    assert process_table.read_uids(child.pid) == set()
    assert process_table.read_variable(child.pid, "PATH") is None
    assert process_table.describe_process(child.pid) == f"process {child.pid}"
