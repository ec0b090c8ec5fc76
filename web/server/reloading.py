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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# The pids of the workers of the program before, for the one after it.
OLD_WORKERS = "API_OLD_WORKERS"
# sd_listen_fds(3): how a process gets listening sockets; gunicorn reads these variables.
FIRST_SOCKET = 3
SPARE_FILE = 64


def execute_anew(server: Any) -> None:
    """Replace this program by a new one that has its sockets: gunicorn's hook `on_reload`."""
    # Until the new program has its handler, another reload would end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pass_sockets([listener.fileno() for listener in server.LISTENERS])
    environ = build_environment(
        Path("/proc/self/environ").read_bytes(), os.getpid(), len(server.LISTENERS), server.WORKERS
    )
    # This program itself, and not another one, which `host.process.runner` would start.
    os.execve(sys.executable, sys.orig_argv, environ)  # noqa: S606


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
    start: bytes, pid: int, sockets: int, workers: Mapping[int, object]
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


def take_over(_server: object) -> None:
    """Prepare the memory for the fork of the workers, and end those before: hook `when_ready`."""
    gc.collect()
    # The garbage collector would otherwise write to each object, and unshare it.
    gc.freeze()
    # They are children of this process that it has not waited for: no other has their pids.
    for pid in os.environ.pop(OLD_WORKERS, "").split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGTERM)
