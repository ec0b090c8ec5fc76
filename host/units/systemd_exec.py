"""The program of our systemd template units: it executes the command in the unit's credential.

The manager wrote the credential `unit`, which only root and the unit's own user can read, so the
environment with today's database password is in no other file. A unit that keeps running replaces
this process by its command. For a job this process stays beside the command: it sends the exit
code, and exits when the waiting process closes the connection; systemd then ends the whole unit.
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
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# A program would inherit that; without systemd `subprocess` undoes it (`restore_signals`).
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
# What the worker gets in the place of an exit code if the unit is stopped.
STOPPED = b"stopped"


def main() -> None:
    """Execute the credential's command in its folder, with its environment and nothing else."""
    spec = json.loads(Path(os.environ["CREDENTIALS_DIRECTORY"], "unit").read_text())
    try:
        if "socket" in spec:
            run_job(spec)
        execute(spec)
    except OSError as error:
        sys.exit(f"{spec['argv'][0]} cannot be started: {error}")


def execute(spec: dict[str, Any]) -> NoReturn:
    """Replace this process by the command; its output is appended to the existing log.

    With `log_writer` it goes through a pipe, which that command reads (`host.process.log_writer`).
    """
    # Opened here, as the unit's user: systemd would open it as root, and follow a link in a path
    # that belongs to the control plane's user (docs/decisions/0007).
    log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    output = start_log_writer(spec["log_writer"], log) if "log_writer" in spec else log
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(spec["cwd"])
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 — no shell is wanted


def start_log_writer(argv: list[str], log: int) -> int:
    """Start the process that appends to the log what comes through a pipe; returns its end."""
    source, output = os.pipe()
    child = os.fork()
    if child == 0:
        try:  # in a child that ends at once: the command must find no child that it did not start
            actions = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, log, 1)]
            env = {"PATH": os.defpath}
            os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(source)
    return output


def run_job(spec: dict[str, Any]) -> NoReturn:
    """Run the command on the streams received from the socket, and send its exit code."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(spec["socket"])
        signal.signal(signal.SIGTERM, lambda *_: _report_stop(channel))
        child = start_command(spec, *_receive_streams(channel))
        if not _wait(child, channel):
            # Stopped by the process that waited for it, or left by one that was killed: an exit
            # code is read by no process, and would only list the unit as failed. systemd ends it.
            sys.exit(0)
        exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _send(channel, str(exit_code).encode())
    sys.exit(0)


def _report_stop(channel: socket.socket) -> NoReturn:
    """Say that systemd stops this unit, and end: it then kills the command (KillMode=mixed)."""
    _send(channel, STOPPED)
    os._exit(0)


def _send(channel: socket.socket, message: bytes) -> None:
    """Send it, unless the process that waited has just closed the connection: nothing failed."""
    with suppress(OSError):
        channel.sendall(message)


def start_command(spec: dict[str, Any], stdin: int, output: int) -> int:
    """Start the command in a session of its own; returns its pid."""
    os.chdir(spec["cwd"])
    # posix_spawnp would search the PATH of this process, not the command's.
    program = shutil.which(spec["argv"][0], path=spec["env"].get("PATH", os.defpath))
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, output, stream) for stream in (1, 2)]
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return os.posix_spawn(
        program,
        spec["argv"],
        spec["env"],
        file_actions=actions,
        setsid=True,
        setsigdef=IGNORED_BY_PYTHON,
    )


def _receive_streams(channel: socket.socket) -> list[int]:
    """Receive two open files as ancillary data (SCM_RIGHTS, unix(7))."""
    _, ancillary, _, _ = channel.recvmsg(1, socket.CMSG_LEN(2 * array.array("i").itemsize))
    if not ancillary:  # the process that started the job was killed
        sys.exit(0)
    streams = list(array.array("i", ancillary[0][2]))
    for stream in streams:
        # The command gets the copies on 0, 1 and 2 and no others.
        os.set_inheritable(stream, False)
    return streams


def _wait(child: int, channel: socket.socket) -> bool:
    """Wait until the child ends or the other side closes; returns whether the child ended."""
    # A pidfd: select can wait for it and for the socket at the same time.
    descriptor = os.pidfd_open(child)
    ready, _, _ = select.select([descriptor, channel.fileno()], [], [])
    return descriptor in ready


if __name__ == "__main__":
    main()
