"""The program that stops a unit of systemd with the process's own time to end."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from host.units import systemd_stop

PROGRAM = Path(systemd_stop.__file__)
# Ends a second after SIGTERM, and says so.
WORKER = """
import signal, sys, time
def end(*_):
    time.sleep(float(sys.argv[1]))
    print("ended", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(600)
"""


def stop(path, pid):
    """Run the program as systemd does: no credentials, and the unit's MAINPID."""
    argv = [sys.executable, "-I", "-S", str(PROGRAM), str(path)]
    env = {"MAINPID": str(pid), "CREDENTIALS_DIRECTORY": "/nonexistent"}
    return subprocess.run(argv, env=env, timeout=60, capture_output=True, text=True)


@pytest.fixture
def worker():
    argv = [sys.executable, "-c", WORKER, "0.5"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_process_has_the_time_of_its_file_to_end(worker, tmp_path):
    path = tmp_path / "unit"
    path.write_text("60.0")
    done = stop(path, worker.pid)
    assert (done.returncode, done.stderr) == (0, "")
    assert worker.stdout.readline() == "ended\n"
    assert worker.wait(60) == 0


def test_a_process_that_does_not_end_is_waited_for_no_longer(worker, tmp_path):
    path = tmp_path / "unit"
    path.write_text("0.1")
    began = time.monotonic()
    assert stop(path, worker.pid).returncode == 0
    assert time.monotonic() - began < 50
    assert worker.poll() is None or worker.wait(60) == 0


def test_without_a_file_or_a_process_nothing_fails(tmp_path):
    assert systemd_stop.read_seconds(tmp_path / "none") == systemd_stop.DEFAULT_SECONDS
    (tmp_path / "bad").write_text("x")
    assert systemd_stop.read_seconds(tmp_path / "bad") == systemd_stop.DEFAULT_SECONDS
    assert stop(tmp_path / "none", 0).returncode == 0
