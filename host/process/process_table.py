"""The table of processes, read from /proc (proc_pid_stat(5)).

Start times are in seconds since boot: unlike psutil's they do not move with the clock.
"""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# The largest environment that execve(2) accepts is larger, so it is read in several parts.
READ_BYTES = 64 * 1024
# It has ended, or the host hides the processes of other users (hidepid, proc(5)).
UNREADABLE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class ProcessEntry:
    """One living process: pids of itself, its parent, its process group and its session."""

    pid: int
    parent: int
    group: int
    session: int
    start_time: float

    def is_alive(self) -> bool:
        """Return whether exactly this process still runs."""
        return is_alive(self.pid, self.start_time)


def list_processes() -> list[ProcessEntry]:
    """Return every living process; zombies are left out."""
    return [entry for pid in list_pids() if (entry := find_process(pid)) is not None]


def list_processes_of(uid: int) -> list[ProcessEntry]:
    """Return every living process that has that uid as one of its own."""
    # The uids first: of the other processes nothing else is read.
    pids = [pid for pid in list_pids() if uid in read_uids(pid)]
    entries = [entry for pid in pids if (entry := find_process(pid)) is not None]
    # Once more, since the pid may have been another process's when its start time was read.
    return [entry for entry in entries if uid in read_uids(entry.pid)]


def list_pids() -> list[int]:
    """Return the pid of every process, zombies included."""
    with os.scandir("/proc") as entries:  # a Path for each costs as much as the reading
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def list_descendants(pid: int) -> list[ProcessEntry]:
    """Return the children of the process, their children and so on.

    Reads only these, unlike `list_processes`. Empty on a kernel without CONFIG_PROC_CHILDREN.
    """
    try:
        children = [int(child) for child in _read(pid, f"task/{pid}/children").split()]
    except UNREADABLE:
        return []
    found = [entry for child in children if (entry := find_process(child)) is not None]
    return found + [below for child in children for below in list_descendants(child)]


def find_process(pid: int) -> ProcessEntry | None:
    """Return the process of that pid; None if there is none or it is a zombie.

    A process whose first thread has ended is shown as a zombie by the kernel while its other
    threads still run, with its files and sockets open: it is returned.
    """
    fields = _read_stat(pid)
    if not fields or (fields[0] in "ZX" and int(fields[17]) <= 1):  # num_threads
        return None
    parent, group, session = map(int, fields[1:4])
    return ProcessEntry(pid, parent, group, session, int(fields[19]) / TICKS_PER_SECOND)


def is_alive(pid: int, start_time: float) -> bool:
    """Return whether the process of that pid runs and started at that time."""
    found = find_process(pid)
    return found is not None and found.start_time == start_time


def read_start_time(pid: int) -> float:
    """Return when a child of ours started. Until we reap it, a zombie has it too."""
    return int(_read_stat(pid)[19]) / TICKS_PER_SECOND


def read_variable(pid: int, name: str) -> str | None:
    """Return a variable of the environment a process started with; None if unset or unreadable."""
    try:
        raw = b"\0" + _read(pid, "environ")
    except OSError:
        return None
    _, separator, rest = raw.partition(f"\0{name}=".encode())
    return rest.partition(b"\0")[0].decode(errors="replace") if separator else None


def read_uids(pid: int) -> set[int]:
    """Return the real, effective, saved and file system uid of a process; empty if it ended."""
    try:
        status = _read(pid, "status")
    except UNREADABLE:
        return set()
    line = status.partition(b"\nUid:")[2].partition(b"\n")[0]
    return {int(uid) for uid in line.split()}  # a setuid program has different ones


def describe_process(pid: int) -> str:
    """Return the pid and the program's name as text; arguments may hold secrets: left out."""
    try:
        name = _read(pid, "comm").decode(errors="replace").removesuffix("\n")
    except PermissionError:
        return f"process {pid}"
    except UNREADABLE:
        return f"process {pid}, which has ended"
    # A process names itself as it likes: no control character of it reaches a terminal.
    return f"process {pid} ({''.join(one if one.isprintable() else '?' for one in name)})"


def read_boot_id() -> str:
    """Return the id of this boot: pids and start times of another boot are meaningless."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _read_stat(pid: int) -> list[str]:
    """Return the fields after the program's name."""
    try:
        # The name stands in parentheses and may hold blanks and parentheses of its own.
        return _read(pid, "stat").rpartition(b")")[2].decode().split()
    except UNREADABLE:
        return []


def _read(pid: int, name: str) -> bytes:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Without a file object, which costs more than the reading: there are many processes.
        return b"".join(iter(lambda: os.read(descriptor, READ_BYTES), b""))
    finally:
        os.close(descriptor)
