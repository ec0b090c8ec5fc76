"""The table of processes, read from /proc (proc_pid_stat(5)): who runs, of which family.

Start times are in seconds since boot: unlike psutil's they do not move with the clock.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Entry:
    """One living process."""

    pid: int
    parent: int
    group: int
    session: int
    started: float

    def is_alive(self) -> bool:
        """Say whether that very process still runs."""
        return is_alive(self.pid, self.started)


def entries() -> list[Entry]:
    """Return every living process; a zombie is none."""
    return list(_entries())


def entry(pid: int) -> Entry | None:
    """Return that process if it lives; None for a zombie or nobody."""
    fields = _stat(pid)
    if not fields or fields[0] in "ZX":
        return None
    parent, group, session = map(int, fields[1:4])
    return Entry(pid, parent, group, session, int(fields[19]) / TICKS_PER_SECOND)


def is_alive(pid: int, started: float) -> bool:
    """Say whether the process of that pid runs and is the one that started then."""
    found = entry(pid)
    return found is not None and found.started == started


def started(pid: int) -> float:
    """Return when our own child started; until we reap it, it can be asked, even as a zombie."""
    return int(_stat(pid)[19]) / TICKS_PER_SECOND


def variable(pid: int, name: str) -> str | None:
    """Return a variable a process was started with; None if unset or not ours to read."""
    try:
        raw = b"\0" + _read(pid, "environ")
    except OSError:
        return None
    _, found, rest = raw.partition(f"\0{name}=".encode())
    return rest.partition(b"\0")[0].decode(errors="replace") if found else None


def uids(pid: int) -> set[int]:
    """Return the real, effective, saved and file system uid of a process; empty if it is gone."""
    try:
        status = _read(pid, "status")
    except (FileNotFoundError, ProcessLookupError):
        return set()
    line = status.partition(b"\nUid:")[2].partition(b"\n")[0]
    return {int(uid) for uid in line.split()}


def describe(pid: int) -> str:
    """Name a process for people; its arguments may hold secrets and are left out."""
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except (FileNotFoundError, ProcessLookupError):
        return f"process {pid}, which has ended"


def boot() -> str:
    """Return the id of this boot: pids and start times of another one say nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _entries() -> Iterator[Entry]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (found := entry(int(folder.name))) is not None:
            yield found


def _stat(pid: int) -> list[str]:
    """Return the fields after the program's name, which may hold blanks and brackets."""
    try:
        return _read(pid, "stat").rpartition(b")")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _read(pid: int, name: str) -> bytes:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Without a file object, which costs more than the reading: there are many processes.
        return b"".join(iter(lambda: os.read(descriptor, READ_BYTES), b""))
    finally:
        os.close(descriptor)
