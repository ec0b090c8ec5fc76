"""The process that copies a daemon's output to its log."""

import os
import signal
import subprocess

from host.process import log_writer
from tests.host.processes import wait_for


def test_it_ends_with_the_output_and_not_with_the_signals_of_a_stop(tmp_path):
    log = tmp_path / "log"
    with log.open("ab") as file:
        writer = subprocess.Popen(
            log_writer.ARGV, stdin=subprocess.PIPE, stdout=file, start_new_session=True
        )
    writer.stdin.write(b"first\n")
    writer.stdin.flush()
    wait_for(log.read_bytes)
    os.killpg(writer.pid, signal.SIGTERM)
    writer.stdin.write(b"last words\n")
    writer.stdin.close()
    assert writer.wait(60) == 0
    assert log.read_text() == "first\nlast words\n"
