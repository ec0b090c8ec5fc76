"""Forks daemons from a process that has imported its code once, so that they share its memory.

A forked child shares each page with its parent until one of them writes to it (fork(2)). A worker
that has imported Django is 60 MB; nine of them that were forked are little more than one. Two
things would write to those pages without need: the garbage collector, which keeps its state in
each object's header (`gc.freeze`), and a second interpreter's start.

Only a process with a single thread may fork safely: a lock that another thread holds stays locked
in the child permanently. So the server is forked off before its owner starts its threads, never has
one, and does all later forks.
"""

import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from host.files import log_files
from host.process import process_table
from host.process.process_id import ProcessId
from host.process.runner import kill_forks_with_parent

PR_SET_NAME = 15
NAME_BYTES = 15  # of a process's name in the kernel's table, prctl(2)
ANSWER_BYTES = 32
# The server outlives what it is sent with its process group; it ends with its owner.
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ForkServer:
    """A child of this process that runs `work` in a new process whenever `fork` is called.

    It and all that it forked are killed when the thread that made it ends. Raises RuntimeError
    where this process has a second thread already.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        if threading.active_count() > 1:
            raise RuntimeError("a fork server is made before any thread is started")
        kill_forks_with_parent()
        gc.collect()
        gc.freeze()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self.pid = os.fork()
            if self.pid == 0:
                self._channel.close()
                _serve(theirs, name, work)

    def fork(self, log: Path) -> ProcessId:
        """Start `work` in a session of its own, its output appended to `log`.

        Raises OSError if the server has ended or cannot fork.
        """
        self._channel.sendall(bytes(log) + b"\n")
        answer = self._channel.recv(ANSWER_BYTES).decode()
        if not answer.isdecimal():
            raise OSError("the fork server has ended" if not answer else "it cannot fork")
        return ProcessId(int(answer), process_table.read_start_time(int(answer)))

    def close(self) -> None:
        """End the server, and with it what it forked."""
        self._channel.close()
        os.waitpid(self.pid, 0)


def _serve(channel: socket.socket, name: str, work: Callable[[], object]) -> NoReturn:
    """Fork at each line, which names a log; end when the owner closes the channel."""
    _set_name(f"{name}-forks")
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes the children that ended
    with channel.makefile("rb") as requests:
        for line in requests:
            try:
                pid = os.fork()
            except OSError as error:
                channel.sendall(type(error).__name__.encode())
                continue
            if pid == 0:
                channel.close()
                _become(name, Path(os.fsdecode(line.rstrip(b"\n"))), work)
            channel.sendall(str(pid).encode())
    # Without the owner's exit handlers and buffered output, which the fork has copied.
    os._exit(0)


def _become(name: str, log: Path, work: Callable[[], object]) -> NoReturn:
    """Run `work` as a daemon, and end this process whatever comes of it."""
    status = 1
    try:
        os.setsid()
        _set_name(name)
        for number in (*IGNORED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        gc.enable()
        with log_files.open_append(log) as output, Path(os.devnull).open("rb") as source:
            os.dup2(source.fileno(), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        work()
        status = 0
    except BaseException:  # noqa: BLE001 — it is written to the log; nothing above may go on
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _set_name(name: str) -> None:
    """Have `ps` and `top` show what this process is: its command line is that of its owner."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NAME, name.encode()[:NAME_BYTES], 0, 0, 0)
