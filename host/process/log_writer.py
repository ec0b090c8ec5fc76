"""The process that copies to its log what a daemon writes to a pipe.

With a file as its output a program that opens /dev/stdout with O_TRUNC, as the shell's `>` does,
would empty its own log; on a pipe that flag does nothing (open(2)). The process is `cat`, so it
takes little memory. It ends when the last process has closed the pipe, and nothing else ends it: a
daemon without a reader would be killed by SIGPIPE. On a full disk cat fails and is started again:
what was not written is lost, and the daemon runs on.
"""

import os
import shutil
from typing import IO

# 127: there is no cat. The signals are those that a service manager sends to a whole unit.
SCRIPT = "trap '' TERM INT HUP; until cat || [ $? = 127 ]; do :; done"
ARGV = (shutil.which("sh") or "/bin/sh", "-c", SCRIPT)
# What it needs to write the last lines of a daemon that has ended.
LAST_LINES_SECONDS = 1.0


def open_pipe(gid: int | None) -> tuple[int, IO[bytes]]:
    """Return a pipe's two ends. A process whose group is `gid` may open it again by name.

    The kernel checks the mode when a process opens /dev/stdout (proc_pid_fd(5)).
    """
    source, target = os.pipe()
    if gid is not None:
        os.fchown(target, -1, gid)
        os.fchmod(target, 0o660)  # nosec B103
    return source, os.fdopen(target, "wb", buffering=0)
