"""The program that stops a unit with its own `stop_timeout`: `ExecStop=` of the process units.

systemd's TimeoutStopSec is the same for all instances of a template, and each process may have
another time: the manager writes it into a file, whose path is this program's argument. The unit's
credential would have it too, but systemd 252 hides that from `ExecStop=`. This sends SIGTERM to all
processes of the unit and waits for the first one; systemd then kills what is left. Standard library
only, as `systemd_exec`.
"""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# Of a unit that a version without the file started.
DEFAULT_SECONDS = 10.0


def main() -> None:
    """Stop the unit whose MAINPID systemd has put into the environment."""
    main_pid = int(os.environ.get("MAINPID", "0"))
    # 0: it has ended, and 0 would name this process's own group.
    if main_pid > 0:
        with suppress(ProcessLookupError):
            stop(main_pid, read_seconds(Path(sys.argv[1])))


def read_seconds(path: Path) -> float:
    """Return the seconds of the file; DEFAULT_SECONDS if it is missing or has no number."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return DEFAULT_SECONDS


def stop(main_pid: int, seconds: float) -> None:
    """Send SIGTERM to every process of the group; wait up to `seconds` for `main_pid` to end.

    Raises ProcessLookupError if it has ended before.
    """
    descriptor = os.pidfd_open(main_pid)
    for pid in {main_pid, *_list_members()} - {os.getpid()}:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    select.select([descriptor], [], [], seconds)


def _list_members() -> Iterator[int]:
    """Yield the pids of this process's control group, of cgroup v2; none without it."""
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        paths = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
        for path in paths:
            members = (CGROUPS / path.lstrip("/") / "cgroup.procs").read_text()
            yield from map(int, members.split())


if __name__ == "__main__":
    main()
