"""Gives the programs that this process starts as root a /tmp, /var/tmp and /dev/shm of their own.

They also have IPC objects of their own (ipc_namespaces(7)): a POSIX message queue outlives every
process, and is found only where a file system of them is mounted. They have pseudo-terminals of
their own (devpts in the kernel's documentation): all users share the host's number of them, and
without one there is no log-in. And our checkout is hidden from them: many tools look for their
configuration, or for a repository, in the folders above an application's tree, and would find ours.

The calling thread enters new namespaces, starts the program, which inherits them, and returns.
Source: mount_namespaces(7), unshare(2), setns(2). Python has these calls from 3.12 on. The kernel
removes the three folders and the IPC objects with the last process that uses them.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

CLONE_NEWNS, CLONE_NEWIPC = 0x20000, 0x8000000
# Their names below /proc/<pid>/ns. The mounts are the first: without them nothing is private.
NAMESPACES = {CLONE_NEWNS: "mnt", CLONE_NEWIPC: "ipc"}
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
CAP_SYS_ADMIN = 1 << 21
# Of memory, for the three folders of a program together. TMPDIR lies on the disk.
SIZE = "512m"
TERMINALS = Path("/dev/pts")
# Of these the kernel keeps 1024 of the host's 4096 for the host's own file system of them.
TERMINAL_OPTIONS = "newinstance,ptmxmode=0666,mode=0600,max=64"
# Of a program's IPC namespace, proc_sys_kernel(5). The kernel's own would let a user fill the
# memory: no limit of a process counts these objects.
IPC_LIMITS = {
    "shmall": f"{512 * 2**20 // os.sysconf('SC_PAGE_SIZE')}",  # in pages
    "msgmni": "256",
    "sem": "250 32000 100 256",
}
SHM = Path("/dev/shm")  # noqa: S108 — it is replaced
SHARED_FOLDERS = (Path("/tmp"), Path("/var/tmp"), SHM)  # noqa: S108


@dataclass(frozen=True)
class PrivateFolders:
    """What a program sees: `hidden` is empty, as /tmp is, but for the `visible` paths."""

    hidden: Path
    visible: tuple[Path, ...]

    def including(self, path: Path) -> "PrivateFolders":
        """Return them with `path` visible too."""
        if any(path.is_relative_to(one) for one in self.visible):
            return self
        return replace(self, visible=(*self.visible, path))

    @property
    def replaced(self) -> tuple[Path, ...]:
        """The folders that are replaced, in order; a hidden one in /tmp is hidden with it."""
        if any(self.hidden.is_relative_to(folder) for folder in SHARED_FOLDERS):
            return SHARED_FOLDERS
        # /dev/shm is the last: the others' new folders lie in it.
        return (self.hidden, *SHARED_FOLDERS)


def is_supported() -> bool:
    """Return whether the kernel lets this process try; a container's policy may still refuse."""
    status = Path("/proc/self/status").read_text()
    rights = int(status.partition("\nCapEff:")[2].split(maxsplit=1)[0], 16)
    return os.geteuid() == 0 and bool(rights & CAP_SYS_ADMIN)


@cache
def is_allowed(folders: PrivateFolders) -> bool:
    """Return whether the kernel mounts the folders for this process. Tried once."""
    if not is_supported():
        return False
    with private_tmp(folders) as works:
        return works


@contextmanager
def private_tmp(folders: PrivateFolders) -> Iterator[bool]:
    """Have the programs that this thread starts see empty folders of their own.

    Yields whether it worked: where the kernel refuses, the programs share the host's folders, which
    the doctor and a note on each run say. Start no thread meanwhile, it would stay in the
    namespace. Raises OSError if the thread cannot return to its own namespace.
    """
    paths = {kind: Path("/proc/thread-self/ns", name) for kind, name in NAMESPACES.items()}
    with ExitStack() as stack:
        root = stack.enter_context(_descriptor(Path("/"), os.O_PATH))
        folder = stack.enter_context(_descriptor(Path(), os.O_PATH))
        own = {
            kind: stack.enter_context(_descriptor(path, os.O_RDONLY))
            for kind, path in paths.items()
            if path.exists()
        }
        entered = _enter_new(own)
        try:
            works = CLONE_NEWNS in entered and _mount_all(folders)
            if CLONE_NEWIPC in entered:
                _limit_ipc()
            yield works
        finally:
            for kind in entered:
                _call("setns", own[kind], kind)
            if CLONE_NEWNS in entered:  # setns(2) has moved this thread to the namespace's root
                os.fchdir(root)
                os.chroot(".")  # this process may be in a chroot
            os.fchdir(folder)


@contextmanager
def _descriptor(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter_new(kinds: Iterable[int]) -> list[int]:
    """Enter a new namespace of each kind; returns the kinds up to the first that is refused."""
    entered = []
    with suppress(OSError):
        for kind in kinds:
            _call("unshare", kind)
            entered.append(kind)
    return entered


def _mount_all(folders: PrivateFolders) -> bool:
    """Mount the folders; returns False if the kernel refuses one of them."""
    try:
        # First: otherwise the mounts would reach the host's namespace too.
        _mount("none", Path("/"), MS_REC | MS_PRIVATE)
        _mount("tmpfs", SHM, MS_NOSUID | MS_NODEV, "tmpfs", f"mode=0755,size={SIZE}")
        parts = {folder: SHM / str(number) for number, folder in enumerate(folders.replaced)}
        for folder, part in parts.items():
            _make_folder(part, 0o1777 if folder in SHARED_FOLDERS else 0o755)
        for path in filter(Path.exists, folders.visible):
            _keep_visible(path, parts)
        for folder, part in parts.items():
            _mount(str(part), folder, MS_BIND | MS_REC)
    except OSError:
        return False
    # Where it is refused, as in some containers, the host's are used.
    with suppress(OSError):
        flags = MS_NOSUID | MS_NOEXEC
        _mount("devpts", TERMINALS, flags, "devpts", TERMINAL_OPTIONS)
    return True


def _limit_ipc() -> None:
    """Limit the IPC objects of this thread's namespace. In some containers these are read-only."""
    for name, value in IPC_LIMITS.items():
        with suppress(OSError):
            Path("/proc/sys/kernel", name).write_text(value)


def _keep_visible(path: Path, parts: dict[Path, Path]) -> None:
    for folder, part in parts.items():
        if path.is_relative_to(folder):
            place = part / path.relative_to(folder)
            for parent in reversed(place.relative_to(part).parents):
                _make_folder(part / parent)
            _make_folder(place)
            _mount(str(path), place, MS_BIND | MS_REC)


def _make_folder(path: Path, mode: int = 0o755) -> None:
    if not path.exists():
        path.mkdir()
        path.chmod(mode)  # whatever our umask is


def _mount(source: str, target: Path, flags: int, kind: str = "", options: str = "") -> None:
    words = (source.encode(), bytes(target), kind.encode() or None)
    _call("mount", *words, flags, options.encode() or None)


def _call(name: str, *arguments: bytes | int | None) -> None:
    """Call the C library. Raises OSError."""
    if getattr(_load_libc(), name)(*arguments) != 0:
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


@cache
def _load_libc() -> "ctypes.CDLL":
    import ctypes  # here, because it slows down the commands that start no program

    libc = ctypes.CDLL(None, use_errno=True)
    text, number = ctypes.c_char_p, ctypes.c_ulong
    libc.mount.argtypes = (text, text, text, number, text)
    return libc
