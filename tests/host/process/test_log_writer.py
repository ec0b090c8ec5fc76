"""The process that copies a daemon's output to its log."""

import os
import signal
import subprocess

from host.process import log_writer
from tests.host.processes import wait_for


def test_what_is_written_to_the_pipe_can_be_read_at_once():
    source, output = log_writer.open_pipe(None)
    with open(source, "rb", buffering=0) as end, output:
        output.write(b"said")
        assert end.read(10) == b"said"


def test_a_pipe_may_be_opened_again_by_its_group_and_by_nobody_else():
    gid = 61_990 if os.geteuid() == 0 else os.getgid()
    source, output = log_writer.open_pipe(gid)
    with open(source, "rb"), output:
        state = os.fstat(output.fileno())
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (os.geteuid(), gid, 0o660)


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
