"""What our systemd templates execute: it reads what to run from its credential and does it.

The credential `unit` is the file that the manager wrote; only root and the unit's own user can
read it, so the unit's environment, with today's password, stands in no other place. A unit that
stays becomes its command. A job's launcher stays beside it: it says how the command ended, and ends
when whoever waits for it has gone; systemd then ends whatever is left of the unit.
"""

import array
import errno
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn


def main() -> None:
    """Do what the credential says, in its folder, with its environment and nothing else."""
    told = json.loads(Path(os.environ["CREDENTIALS_DIRECTORY"], "unit").read_text())
    try:
        if "socket" in told:
            attend(told)
        become(told)
    except OSError as error:
        sys.exit(f"{told['argv'][0]} cannot be started: {error}")


def become(told: dict[str, Any]) -> NoReturn:
    """Become the command, with its output in the log that was made for it."""
    log = os.open(told["log"], os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(told["cwd"])
    os.execvpe(told["argv"][0], told["argv"], told["env"])  # noqa: S606 — no shell is wanted


def attend(told: dict[str, Any]) -> NoReturn:
    """Run the command on the streams that we are handed, and say how it ended."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(told["socket"])
        child = start(told, *_streams(channel))
        if not _ended(child, channel):
            sys.exit("whoever waited for this job has gone")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        channel.sendall(str(code).encode())
    sys.exit(0)


def start(told: dict[str, Any], stdin: int, output: int) -> int:
    """Start the command in a session of its own; returns its pid."""
    os.chdir(told["cwd"])
    program = shutil.which(told["argv"][0], path=told["env"].get("PATH", os.defpath))
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, output, stream) for stream in (1, 2)]
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return os.posix_spawn(
        program,
        told["argv"],
        told["env"],
        file_actions=actions,
        setsid=True,
        setsigdef=[signal.SIGPIPE],
    )


def _streams(channel: socket.socket) -> list[int]:
    _, ancillary, _, _ = channel.recvmsg(1, socket.CMSG_LEN(2 * array.array("i").itemsize))
    streams = list(array.array("i", ancillary[0][2]))
    for stream in streams:
        os.set_inheritable(stream, False)
    return streams


def _ended(child: int, channel: socket.socket) -> bool:
    """Wait for the child, or for the other end to go; returns whether the child ended."""
    descriptor = os.pidfd_open(child)
    ready, _, _ = select.select([descriptor, channel.fileno()], [], [])
    return descriptor in ready


if __name__ == "__main__":
    main()
