"""A job that systemd stops, or that is killed, is interrupted and has not failed."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from host.deadline import Deadline, wait_until
from host.process import shutdown
from host.units import jobs, systemd_exec
from host.units.jobs import JobInterrupted, JobUser

JOB = jobs._Job(JobUser(1, 1), "job-1")


@pytest.fixture
def channel():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("message", [systemd_exec.STOPPED, b""])
def test_a_job_whose_unit_was_ended_is_interrupted_unless_we_stop_too(channel, message):
    ours, theirs = channel
    theirs.sendall(message)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(JobInterrupted, match=r"ouroboros-job@job-1\.service was stopped"):
        JOB._wait(ours, Deadline(30), lambda: False)
    assert JOB._wait(ours, Deadline(30), lambda: True) is None


def test_a_job_that_ends_with_its_worker_is_stopped_and_not_interrupted(channel, monkeypatch):
    ours, theirs = channel
    monkeypatch.setattr(shutdown, "_state", bytearray(b"\1\1"))
    theirs.sendall(systemd_exec.STOPPED)
    assert JOB._wait(ours, Deadline(30), lambda: False) is None


def test_an_exit_code_of_a_signal_is_the_commands_own(channel):
    ours, theirs = channel
    theirs.sendall(b"-11")
    assert JOB._wait(ours, Deadline(30), lambda: False) == -11


@pytest.mark.parametrize(
    ("script", "waits"),
    [("echo stopping; exit 1", True),
     ("echo 'Failed to connect to bus: No such file or directory' >&2; exit 1", True),
     ("echo running", False), ("echo degraded; exit 1", False)],
)  # fmt: skip
def test_what_systemd_refuses_while_the_host_shuts_down_is_no_failure(
    tmp_path, monkeypatch, script, waits
):
    """The answer would end the step as failed: this process waits for its end instead."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\n[ "$2" = start ] && exit 1\n{script}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    pauses = []
    monkeypatch.setattr(jobs.time, "sleep", pauses.append)
    assert jobs.run_systemctl("start", "ouroboros-job@job-1.service").exit_code == 1
    assert (jobs.SHUTDOWN_SECONDS in pauses) == waits


def read_letter(pid):
    """Return the letter for what the process does: proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("ends", ["by systemd", "by us", "by both", "after us"])
def test_a_unit_that_is_stopped_ends_without_a_failure(tmp_path, ends):
    """The program in the unit; systemd's stop is said to us before the end, if we still wait."""
    address = tmp_path / "job.sock"
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    argv = [sys.executable, "-c", code]
    spec = {"argv": argv, "cwd": str(tmp_path), "env": {}, "socket": str(address)}
    (tmp_path / "unit").write_text(json.dumps(spec))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        listener.settimeout(60)
        program = [sys.executable, "-I", "-S", str(Path(systemd_exec.__file__))]
        unit = subprocess.Popen(program, env={"CREDENTIALS_DIRECTORY": str(tmp_path)})
        connection, _ = listener.accept()
        read, write = os.pipe()
        with open(os.devnull) as stdin, connection, os.fdopen(read) as output:
            socket.send_fds(connection, [b"."], [stdin.fileno(), write])
            os.close(write)
            command = int(output.readline())
            if ends == "by systemd":
                unit.terminate()
                assert connection.recv(16) == systemd_exec.STOPPED
            else:
                unit.send_signal(signal.SIGSTOP)  # so that it meets all of it at once
                wait_until(lambda: read_letter(unit.pid) == "T", seconds=60, interval=0.01)
                connection.close()
                if ends == "by both":
                    unit.terminate()
                elif ends == "after us":
                    os.kill(command, signal.SIGKILL)
                    wait_until(lambda: read_letter(command) == "Z", seconds=60, interval=0.01)
                unit.send_signal(signal.SIGCONT)
            assert unit.wait(60) == 0
            with suppress(ProcessLookupError):
                os.kill(command, signal.SIGKILL)  # as systemd does with the rest of the unit
