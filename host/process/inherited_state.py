"""Undoes what a program would inherit from the process that starts it, or from an operator's shell.

The queue's workers ignore SIGINT. A command of an operator may start production: with that shell's
umask, `nice` and `ulimit`, and with the signals that `nohup` and `&` ignore. An application must
see the same from each of them: production starts as the merge gate tried it.
"""

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

UMASK = 0o022
FILES = 65536  # as LimitNOFILE of the installed units
# Nothing limits these, unless an operator did; other limits have defaults of their own.
UNLIMITED = ("AS", "CPU", "DATA", "FSIZE", "NPROC", "RSS")
# Python ignores them, and `subprocess` undoes that for its children.
RESTORED = {signal.SIGPIPE, signal.SIGXFSZ}
ENV = shutil.which("env") or "/usr/bin/env"
NICE = shutil.which("nice") or "/usr/bin/nice"
PRLIMIT = shutil.which("prlimit") or "/usr/bin/prlimit"


def reset_argv(*, has_limits: bool) -> list[str]:
    """Return the words before argv, as root if we are, that undo it; none if nothing differs.

    With `has_limits` other words set the limits.
    """
    options = [] if has_limits else [f"--{name}={value}" for name, value in _find_limits()]
    words = [PRLIMIT, *options, "--"] if options else []
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    if priority != 0 and os.geteuid() == 0:  # other users cannot
        words += [NICE, "-n", str(-priority)]
    return words


def signal_options() -> list[str]:
    """Return the options of `env` with which a program handles the signals that we ignore."""
    numbers = sorted(_read_ignored() - RESTORED)
    if not numbers or not _can_reset_signals():
        return []
    return [f"--default-signal={number}" for number in numbers]


def _find_limits() -> Iterator[tuple[str, str]]:
    """Yield the limits to set: the soft ones, which any process may raise up to the hard ones."""
    for name in (*UNLIMITED, "NOFILE"):
        soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        wanted = FILES if name == "NOFILE" and not 0 <= hard < FILES else hard
        if soft != wanted:
            yield name.lower(), ":".join(map(_format_limit, (wanted, hard)))


def _format_limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _read_ignored() -> set[int]:
    """Return the numbers of the signals that this process ignores (proc_pid_status(5))."""
    status = Path("/proc/self/status").read_text()
    mask = int(status.partition("\nSigIgn:")[2].split(maxsplit=1)[0], 16)
    return {number + 1 for number in range(64) if mask >> number & 1}


@cache
def _can_reset_signals() -> bool:
    """Return whether this host's `env` has the option, which coreutils has from 8.31 on."""
    quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(
        ENV, [ENV, "--default-signal=INT", "true"], {"PATH": os.defpath}, file_actions=quiet
    )
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
