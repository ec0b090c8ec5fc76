"""Reloads the API: its master process executes itself anew, and no request is lost.

The master loads the application once, and the workers that it forks share that memory; so new code
needs a new interpreter. The process stays the same one for systemd and for its old workers, which
serve until it has the application, and the listening sockets stay open. See docs/decisions/0016.
"""

import fcntl
import gc
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from host.deadline import Deadline

# The pids of the workers of the program before, for the one after it.
OLD_WORKERS = "API_OLD_WORKERS"
# sd_listen_fds(3): how a process gets listening sockets; gunicorn reads these variables.
FIRST_SOCKET = 3
SPARE_FILE = 64


# The master's. Blocked from before the execution until the new program has its handlers: the kernel
# keeps those that arrive meanwhile, and the signal mask, over execve(2).
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
# After gunicorn's `graceful_timeout`: then a worker of the program before hangs.
HANG_SECONDS = 10.0


class Reloads:
    """What gunicorn's master does in its loop: ends old workers that hang, and executes itself."""

    def __init__(self, server: Any, old_workers: Iterable[int]) -> None:
        self.server = server
        self.old_workers = list(old_workers)
        self.is_wanted = False
        self._murder_workers = server.murder_workers
        self._end = Deadline(server.cfg.graceful_timeout + HANG_SECONDS)

    def want(self) -> None:
        """Note that a reload is wanted: in place of the arbiter's `reload`.

        That one would execute the new configuration with the modules of this program.
        """
        self.is_wanted = True

    def work(self) -> None:
        """Do what is due, after all signals so far: in place of `murder_workers`."""
        self._murder_workers()
        self.old_workers = [pid for pid in self.old_workers if _is_running_child(pid)]
        if self._end.has_passed:
            for pid in self.old_workers:
                os.kill(pid, signal.SIGKILL)
        if self.is_wanted:
            self._execute_anew()

    def _execute_anew(self) -> None:
        """Replace this program by a new one that has its sockets, unless another signal waits."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if not self.server.SIG_QUEUE.empty():  # a stop, perhaps, and it would be lost
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            return
        listeners = self.server.LISTENERS
        pass_sockets([listener.fileno() for listener in listeners])
        start = Path("/proc/self/environ").read_bytes()
        workers = [*self.server.WORKERS, *self.old_workers]
        environ = build_environment(start, os.getpid(), len(listeners), workers)
        # This program itself, and not another one, which `host.process.runner` would start.
        os.execve(sys.executable, sys.orig_argv, environ)  # noqa: S606


def _is_running_child(pid: int) -> bool:
    """Return whether it is a child that runs: nothing but this loop waits for the children."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def pass_sockets(numbers: list[int]) -> None:
    """Make the sockets the files 3, 4 and so on of the program that is executed next.

    It gets them under these numbers only: under another one it would never close it.
    """
    for number in numbers:
        os.set_inheritable(number, False)
    # First to numbers above all of these: each of 3, 4 and so on may be a socket of the list.
    spare = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, SPARE_FILE) for number in numbers]
    for number, copy in enumerate(spare, FIRST_SOCKET):
        os.dup2(copy, number)


def build_environment(
    start: bytes, pid: int, sockets: int, workers: Iterable[int]
) -> dict[str, str]:
    """Return the environment of the program after: `start`, as in /proc, and what is passed to it.

    `os.environ` has the values of the env files too, which may have changed.
    """
    lines = (os.fsdecode(line).partition("=") for line in start.split(b"\0") if line)
    passed = {
        "LISTEN_PID": str(pid),
        "LISTEN_FDS": str(sockets),
        OLD_WORKERS: " ".join(map(str, workers)),
    }
    return {name: value for name, _, value in lines} | passed


def take_over(server: Any) -> None:
    """Prepare the memory for the fork of the workers, and end those before: hook `when_ready`."""
    gc.collect()
    # The garbage collector would otherwise write to each object, and unshare it.
    gc.freeze()
    # They are children of this process that it has not waited for: no other has their pids.
    old_workers = [int(pid) for pid in os.environ.pop(OLD_WORKERS, "").split()]
    for pid in old_workers:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    reloads = Reloads(server, old_workers)
    server.reload = reloads.want
    server.murder_workers = reloads.work
    # Before the workers are forked, which inherit the mask, as do the programs that they start.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
