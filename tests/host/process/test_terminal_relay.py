"""A command on a pseudo-terminal of its own, and on files."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from host import config as configuration

# What run-command.sh does, without Django.
PROGRAM = """\
import sys
from pathlib import Path
from host.process import runner, terminal_relay as relay
argv = ["sh", "-c", sys.argv[1]]
attach = relay.attach_terminal if relay.is_interactive() else relay.attach_files
with attach() as streams:
    outcome = runner.run_attached(
        relay.wrap_argv(argv) if relay.is_interactive() else argv, cwd=Path("/"),
        env={"PATH": "/usr/bin:/bin"}, user=None, streams=streams, timeout=120)
sys.exit(outcome.exit_code)
"""
SECONDS = 60


class Terminal:
    """A terminal with our program on it."""

    def __init__(self, script):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            # As at a person's terminal: what a shell starts in the background ignores it.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir(configuration.HOME)
            os.execv(sys.executable, [sys.executable, "-c", PROGRAM, script])
        termios.tcsetwinsize(self.master, (33, 77))
        os.kill(self.pid, signal.SIGWINCH)
        self.text = b""

    def wait_for(self, words):
        deadline = time.monotonic() + SECONDS
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096)
                except OSError:
                    assert words in self.text, self.text

    def type(self, data):
        os.write(self.master, data)

    def wait(self):
        while True:  # until the terminal is closed, so that nothing blocks the program
            try:
                if not os.read(self.master, 4096):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def open_terminal():
    terminals = []

    def run(script):
        terminals.append(Terminal(script))
        return terminals[-1]

    yield run
    for terminal in terminals:
        os.close(terminal.master)


def test_a_command_has_a_terminal_of_its_own_with_job_control_and_our_size(open_terminal):
    terminal = open_terminal(
        'tty; ls -l /proc/self/fd/0 >/dev/null; trap "echo interrupted; exit 7" INT;'
        ' echo "typed $(head -n 1)"; while :; do stty size; sleep 0.05; done'
    )
    terminal.wait_for(b"/dev/pts/")
    own = os.readlink(f"/proc/{terminal.pid}/fd/0").encode()
    terminal.type(b"hello\r")
    terminal.wait_for(b"typed hello")
    assert own not in terminal.text.splitlines()[0]
    terminal.wait_for(b"33 77")
    terminal.type(b"\x03")
    terminal.wait_for(b"interrupted")
    assert terminal.wait() == 7


def test_without_a_terminal_input_output_and_errors_are_those_of_the_caller():
    argv = [sys.executable, "-c", PROGRAM, "cat; echo bad >&2; exit 3"]
    done = subprocess.run(
        argv, cwd=configuration.HOME, input=b"\x00\xffdata", capture_output=True, timeout=SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"\x00\xffdata", b"bad\n")


def test_a_command_whose_output_is_a_terminal_never_gets_that_terminal():
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-c", PROGRAM, 'test ! -t 1 && printf "\\033[2Jsafe"']
    done = subprocess.run(
        argv, cwd=configuration.HOME, stdin=subprocess.DEVNULL, stdout=theirs, timeout=SECONDS
    )
    os.close(theirs)
    assert done.returncode == 0
    assert b"safe" in os.read(ours, 4096)
    os.close(ours)
