"""The identity of a process: its pid and its start time."""

import os
import subprocess

from host.process import process_table
from host.process.process_id import ProcessId


def test_this_process_is_alive():
    start_time = process_table.read_start_time(os.getpid())
    assert ProcessId(os.getpid(), start_time).is_alive()


def test_a_pid_with_another_start_time_is_another_process():
    start_time = process_table.read_start_time(os.getpid())
    assert not ProcessId(os.getpid(), start_time - 1).is_alive()


def test_a_zombie_is_not_alive_and_neither_is_a_reaped_process():
    child = subprocess.Popen(["true"])
    process_id = ProcessId(child.pid, process_table.read_start_time(child.pid))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped
    assert not process_id.is_alive()
    child.wait()
    assert not process_id.is_alive()


def test_pid_0_of_a_start_that_was_interrupted_is_not_alive():
    assert not ProcessId(0, 0.0, "a mark").is_alive()


def test_two_identities_with_the_same_values_are_equal():
    assert ProcessId(7, 1.5) == ProcessId(7, 1.5)
    assert ProcessId(7, 1.5) != ProcessId(7, 2.5)
