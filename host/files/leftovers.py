"""What a user left outside its folders: files in /tmp and the like, and IPC objects. As root only.

Where mounts work its programs have private folders (`host.process.private_tmp`), which the kernel
removes. They still share the host's System V IPC, whose objects outlive every process (svipc(7)).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from host.files import ownership
from host.process.private_tmp import SHARED_FOLDERS

IPC_RMID = 0
SYSVIPC = Path("/proc/sysvipc")
KINDS = ("shm", "sem", "msg")
FOLDERS = (*SHARED_FOLDERS, Path("/dev/mqueue"))
OPEN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Of other users' folders that all may write to, one within the other.
MAX_DEPTH = 8


@dataclass(frozen=True)
class IpcObject:
    """A System V shared memory segment, semaphore set or message queue."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"System V {self.kind} {self.number}"


def find_leftovers(uid: int) -> list[str]:
    """Return the user's files in the folders that all users share, and its IPC objects."""
    files = [f"{folder}/{name}" for folder in FOLDERS for _, name in _find_files(folder, uid)]
    return [*files, *map(str, list_ipc_objects(uid))]


def remove_leftovers(uid: int) -> None:
    """Remove them. The user's processes must have ended. May be repeated."""
    if uid in (0, os.getuid(), os.geteuid()):
        raise ValueError(f"uid {uid} is not a reserved one")
    for one in list_ipc_objects(uid):
        _remove_ipc_object(one)
    for folder in FOLDERS:
        for descriptor, name in _find_files(folder, uid):
            with suppress(OSError):
                _remove(folder, name, descriptor)


def list_ipc_objects(uid: int) -> list[IpcObject]:
    """Return the System V objects that the user owns or created."""
    return [one for kind in KINDS for one in _read_table(kind, uid)]


def _read_table(kind: str, uid: int) -> Iterator[IpcObject]:
    """Read one of the tables of proc_sysvipc(5), whose first line names the columns."""
    try:
        head, *rows = (SYSVIPC / kind).read_text().splitlines()
    except FileNotFoundError:  # a kernel without System V IPC
        return
    names = head.split()
    for row in rows:
        values = dict(zip(names, row.split(), strict=False))
        if str(uid) in (values.get("uid"), values.get("cuid")):
            yield IpcObject(kind, int(values[f"{kind}id" if kind != "msg" else "msqid"]))


def _remove_ipc_object(one: IpcObject) -> None:
    import ctypes  # here, because it slows down the commands that end no lease

    libc = ctypes.CDLL(None)
    if one.kind == "sem":
        libc.semctl(one.number, 0, IPC_RMID)
    else:
        getattr(libc, f"{one.kind}ctl")(one.number, IPC_RMID, None)


def _find_files(folder: Path, uid: int) -> Iterator[tuple[int, str]]:
    """Yield what the user owns: the descriptor of the folder that has it, and its name there."""
    try:
        descriptor = os.open(folder, OPEN_FLAGS)
    except OSError:  # this host does not have it
        return
    yield from _find_files_in(descriptor, uid, MAX_DEPTH)


def _find_files_in(descriptor: int, uid: int, depth: int) -> Iterator[tuple[int, str]]:
    """As `_find_files`; closes the descriptor. By descriptors, because names may be exchanged."""
    try:
        for name in os.listdir(descriptor):
            with suppress(OSError):
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if status.st_uid == uid:
                    yield descriptor, name
                elif stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH and depth:
                    inner = os.open(name, OPEN_FLAGS, dir_fd=descriptor)
                    yield from _find_files_in(inner, uid, depth - 1)
    finally:
        os.close(descriptor)


def _remove(folder: Path, name: str, descriptor: int) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=descriptor)
    elif os.path.samestat(os.fstat(descriptor), folder.stat()):
        # The folder is root's and sticky: only the user, who has ended, could rename it.
        ownership.delete_tree(folder / name)
    else:
        os.rmdir(name, dir_fd=descriptor)
