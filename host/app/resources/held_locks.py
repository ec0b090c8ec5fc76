"""Locks that running processes hold on files and in a database, held on copies of these too.

A release that production starts meets the locks of the one that still serves. Where it is started
on copies, it would meet none: a lock belongs to a file, and an advisory lock to a database.
"""

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from host.errors import Refused
from host.files import safe_files, safe_walk
from host.postgres.administration import DatabaseAdmin

LOCKS = Path("/proc/locks")
# Exclusive ones only: shared ones are part of protocols such as that of SQLite's write-ahead log,
# where the first process without another beside it recovers a copy.
LOCK = re.compile(
    r"^\d+: (FLOCK|POSIX|OFDLCK) +ADVISORY +WRITE +(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+)"
    r" (\d+) (\d+|EOF)$",
    re.M,
)
MOUNTS = Path("/proc/self/mountinfo")
MOUNT = re.compile(r"^(\d+) \d+ (\d+):(\d+) ", re.M)
MOUNT_OF_DESCRIPTOR = re.compile(r"^mnt_id:\s+(\d+)", re.M)
UID = re.compile(r"^Uid:\s+(\d+)", re.M)
# What is held in each of them is kept by a process; the others are those of transactions.
SAMPLES = 3
PAUSE_SECONDS = 0.25
ADVISORY_QUERY = """
SELECT lock.classid::bigint, lock.objid::bigint, lock.objsubid
FROM pg_locks AS lock JOIN pg_stat_activity AS session USING (pid)
WHERE lock.locktype = 'advisory' AND lock.granted AND lock.mode = 'ExclusiveLock'
  AND session.datname = %s AND session.usename = %s
  AND session.xact_start IS NULL  -- one in a transaction may have the lock until its end only
"""
ADVISORY_NAME = "the database (advisory locks)"
ADVISORY_PAIR = 2  # of objsubid: the key is two integers, else one of 64 bits
Lock = TypeVar("Lock")
Device = tuple[int, int]  # major and minor, of the file system


@dataclass(frozen=True)
class FileLock:
    """An exclusive lock on `length` bytes from `start` on; 0 is up to the end, wherever it is.

    `pid` is the process that took it, at most 0 if that is not known here.
    """

    kind: str
    pid: int
    device: Device
    inode: int
    start: int
    length: int


def parse_locks(text: str) -> set[FileLock]:
    """Return the exclusive locks of /proc/locks; those that are waited for are not among them."""
    return {
        FileLock(
            kind,
            int(pid),
            (int(major, 16), int(minor, 16)),
            int(inode),
            int(start),
            _read_length(int(start), end),
        )
        for kind, pid, major, minor, inode, start, end in LOCK.findall(text)
    }


def _read_length(start: int, end: str) -> int:
    return 0 if end == "EOF" else int(end) - start + 1


@dataclass(frozen=True)
class HeldLocks:
    """What is held: the names of what is locked, and whether the processes keep all their locks."""

    names: tuple[str, ...]
    are_kept: Callable[[], bool]


@contextmanager
def hold_file_locks(
    source: Path, target: Path, uid: int, stop: Callable[[], bool]
) -> Iterator[HeldLocks]:
    """Hold on the files of `target`, a copy of `source`, the locks that processes keep on those.

    The processes are those of the user `uid`. Yields the files' paths, relative to `target`. A file
    that we may not open is left out; nothing is held once `stop` returns true.
    """
    with ExitStack() as held:
        taken = dict[FileLock, str]()
        for name, lock in _find_kept_locks(source, target, uid, stop):
            with suppress(OSError, Refused):
                _lock(held.enter_context(_open_copy(target, name, lock.kind)), lock)
                taken[lock] = name
        names = tuple(sorted(set(taken.values())))
        yield HeldLocks(names, lambda: taken.keys() <= find_in_all_samples(_read_file_locks))


@contextmanager
def hold_advisory_locks(
    admin: DatabaseAdmin, source: str, role: str, target: str
) -> Iterator[HeldLocks]:
    """Hold in the database `target` the advisory locks that sessions of `role` keep in `source`.

    Raises Refused, as `DatabaseAdmin.connection`.
    """

    def read() -> set[tuple[int, int, int]]:
        return _read_advisory_locks(admin, source, role)

    kept = find_in_all_samples(read)
    if not kept:
        yield HeldLocks((), lambda: True)
        return
    with admin.connection(target) as connection:
        for lock in sorted(kept):
            connection.execute(*make_advisory_statement(*lock))
        yield HeldLocks((ADVISORY_NAME,), lambda: kept <= find_in_all_samples(read))


def find_in_all_samples(read: Callable[[], set[Lock]]) -> set[Lock]:
    """Return what `read` returns SAMPLES times, PAUSE_SECONDS apart."""
    kept = read()
    for _ in range(SAMPLES - 1):
        if not kept:
            break
        time.sleep(PAUSE_SECONDS)
        kept &= read()
    return kept


def make_advisory_statement(classid: int, objid: int, objsubid: int) -> tuple[str, tuple[int, ...]]:
    """Return a statement that takes the advisory lock that pg_locks shows so, and its arguments."""
    if objsubid == ADVISORY_PAIR:
        return "SELECT pg_try_advisory_lock(%s::int, %s::int)", (
            _read_signed(classid, 32),
            _read_signed(objid, 32),
        )
    return "SELECT pg_try_advisory_lock(%s::bigint)", (_read_signed(classid << 32 | objid, 64),)


def _read_signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> (bits - 1) else number


def _read_advisory_locks(
    admin: DatabaseAdmin, database: str, role: str
) -> set[tuple[int, int, int]]:
    with admin.connection() as connection:
        return set(connection.execute(ADVISORY_QUERY, [database, role]).fetchall())


def _find_kept_locks(
    source: Path, target: Path, uid: int, stop: Callable[[], bool]
) -> list[tuple[str, FileLock]]:
    """Return the locks that are held in all samples, with the file's path relative to `source`."""
    try:
        found = list(_find_files(source, target, _read_file_locks(), stop))
    except OSError:  # a process moved folders meanwhile
        return []
    found = [(name, lock) for name, lock in found if _may_be_of(uid, lock.pid)]
    kept = find_in_all_samples(lambda: _read_file_locks() & {lock for _, lock in found})
    return [(name, lock) for name, lock in found if lock in kept]


def _find_files(
    source: Path, target: Path, locks: set[FileLock], stop: Callable[[], bool]
) -> Iterator[tuple[str, FileLock]]:
    """Yield the locks on files of `source` that are in `target` too, which is of limited size."""
    by_inode: dict[int, list[FileLock]] = {}
    for lock in locks:
        by_inode.setdefault(lock.inode, []).append(lock)
    devices = _read_devices() if locks else {}
    for folder in safe_walk.walk_folders(target) if locks else ():
        if stop():
            return
        for name, inode, mount in _read_inodes(source, folder):
            for lock in by_inode.get(inode, ()):
                if devices.get(mount, lock.device) == lock.device:
                    yield "/".join([*folder.parts, name]), lock


def _read_inodes(source: Path, folder: safe_walk.Folder) -> list[tuple[str, int, int]]:
    """Return the names of a folder that are in that of `source` too.

    With their inodes there and the folder's mount, as `_read_devices` has it, 0 if unknown.
    """
    found = list[tuple[str, int, int]]()
    if not folder.names:
        return found
    with suppress(OSError, Refused), safe_files.folder_beneath(source, folder.parts) as original:
        mount = _read_mount(original)
        for name in folder.names:
            with suppress(FileNotFoundError):
                inode = os.stat(name, dir_fd=original, follow_symlinks=False).st_ino
                found.append((name, inode, mount))
    return found


def _read_mount(descriptor: int) -> int:
    match = MOUNT_OF_DESCRIPTOR.search(Path(f"/proc/self/fdinfo/{descriptor}").read_text())
    return int(match[1]) if match is not None else 0


def _read_devices() -> dict[int, Device]:
    """Return the devices of the mounts, by the mounts' numbers; none if they are hidden from us.

    They are those that /proc/locks shows. The st_dev of stat(2) is another one on some file
    systems, such as the subvolumes of Btrfs.
    """
    try:
        text = MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return {}
    return {int(mount): (int(major), int(minor)) for mount, major, minor in MOUNT.findall(text)}


def _may_be_of(uid: int, pid: int) -> bool:
    """Return whether the process may be that user's: what is not known of it may be anything.

    A lock of flock(2) outlives the process that took it, if it has children.
    """
    try:
        match = UID.search(Path(f"/proc/{pid}/status").read_text()) if pid > 0 else None
    except OSError:
        return True
    return match is None or int(match[1]) == uid


def _read_file_locks() -> set[FileLock]:
    try:
        return parse_locks(LOCKS.read_text())
    except OSError:  # hidden from us (ProcSubset=pid)
        return set()


@contextmanager
def _open_copy(root: Path, name: str, kind: str) -> Iterator[IO[bytes]]:
    """Open a regular file below `root` for an exclusive lock of that kind.

    Those of fcntl(2) want it writable; flock(2) does not, and the file may be read-only.
    """
    access, mode = (os.O_RDONLY, "rb") if kind == "FLOCK" else (os.O_RDWR, "r+b")
    *folders, last = name.split("/")
    with safe_files.folder_beneath(root, folders) as folder:
        flags = access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(last, flags, dir_fd=folder)
    with os.fdopen(descriptor, mode, buffering=0) as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            yield file
        else:
            raise OSError("not a regular file")


def _lock(file: IO[bytes], lock: FileLock) -> None:
    if lock.kind == "FLOCK":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, lock.length, lock.start)
