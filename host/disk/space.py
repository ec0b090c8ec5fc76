"""Measures the space of files on the disk, also of those that have no name any more.

A file that a process has deleted keeps its space while a process has it open or mapped: no walk of
a folder finds it (unlink(2)).
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from host.capacity import MEBIBYTE
from host.files import safe_walk
from host.process import process_table

BLOCK_BYTES = 512  # of st_blocks, stat(2)
# Of each file and folder at least: an empty one has an inode and an entry in its folder, and a file
# system has only so many. The space would otherwise be 0 whatever their number is.
LEAST_BLOCKS = 4096 // BLOCK_BYTES
# A file of one name, and smaller, counts again if it is found again: so that a user's many small
# files need no memory here.
KNOWN_BLOCKS = 65_536 // BLOCK_BYTES
FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Folders in each other that are open at once: a walk that returns by ".." ends where one is moved.
MAX_OPEN = 64


@dataclass(frozen=True)
class Place:
    """A folder whose files count; with `uid` only those of that user, and its deleted files."""

    folder: Path
    uid: int | None = None


@dataclass(frozen=True)
class Space:
    """The space that was found, in MiB; not `is_complete` if this process may not look at all."""

    mb: int
    is_complete: bool = True


@dataclass
class _Count:
    """What was counted so far, and the devices of the folders: memory is no disk."""

    enough_mb: int
    blocks: int = 0
    is_complete: bool = True
    seen: set[tuple[int, int]] = field(default_factory=set)
    devices: set[int] = field(default_factory=set)

    def add(self, status: os.stat_result) -> None:
        has_one_name = status.st_nlink == 1 or stat.S_ISDIR(status.st_mode)
        if not has_one_name or status.st_blocks >= KNOWN_BLOCKS:
            identity = status.st_dev, status.st_ino
            if identity in self.seen:
                return
            self.seen.add(identity)
        self.blocks += max(status.st_blocks, LEAST_BLOCKS)

    @property
    def mb(self) -> int:
        return self.blocks * BLOCK_BYTES // MEBIBYTE

    @property
    def is_enough(self) -> bool:
        return self.mb > self.enough_mb


def measure(places: Sequence[Place], enough_mb: int) -> Space:
    """Return the space of all files in these places; the counting ends above `enough_mb`.

    A file with several names counts once. What a process moves or deletes meanwhile may be missed.
    """
    count = _Count(enough_mb)
    for place in places:
        try:
            descriptor = os.open(place.folder, FLAGS)
        except FileNotFoundError:
            continue
        except OSError:
            count.is_complete = False
            continue
        try:
            _add_folder(count, descriptor, place.uid)
        finally:
            os.close(descriptor)
    for uid in {place.uid for place in places if place.uid is not None}:
        _add_deleted_files(count, uid)
    return Space(min(count.mb, enough_mb + 1), count.is_complete)


def _add_folder(count: _Count, descriptor: int, uid: int | None, depth: int = 0) -> None:
    """Add the files below a folder. Its parents stay open, so that it may be moved meanwhile."""
    with suppress(OSError):  # it was deleted
        for name in _add_files(count, descriptor, uid):
            if count.is_enough:
                return
            try:
                below = os.open(name, FLAGS, dir_fd=descriptor)
            except PermissionError:
                count.is_complete = False
                continue
            except OSError:
                continue
            try:
                if depth < MAX_OPEN:
                    _add_folder(count, below, uid, depth + 1)
                else:
                    _add_deep_folder(count, below, uid)
            finally:
                os.close(below)


def _add_files(count: _Count, descriptor: int, uid: int | None) -> list[str]:
    """Add the files and folders in one folder, until it is enough; returns the folders."""
    count.devices.add(os.fstat(descriptor).st_dev)
    folders: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            try:
                status = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
            except PermissionError:  # a folder that may be read and not be entered
                count.is_complete = False
                break
            except OSError:  # it was deleted
                continue
            if uid in (None, status.st_uid):
                count.devices.add(status.st_dev)
                count.add(status)
                if count.is_enough:
                    break
    return folders


def _add_deep_folder(count: _Count, descriptor: int, uid: int | None) -> None:
    """Add the files of any depth below a folder, but for those of a folder that is moved."""
    with suppress(OSError):
        for visited in safe_walk.walk_folders(Path(), dir_fd=descriptor):
            folders = _add_files(count, visited.descriptor, uid)
            if not all(_can_enter(name, visited.descriptor) for name in folders):
                count.is_complete = False
            if count.is_enough:
                return


def _can_enter(name: str, descriptor: int) -> bool:
    # By the effective rights: those of a unit's capabilities count only so (access(2)).
    return os.access(name, os.R_OK | os.X_OK, dir_fd=descriptor, effective_ids=True)


def _add_deleted_files(count: _Count, uid: int) -> None:
    """Add the files without a name that processes of the user have open or mapped."""
    for entry in process_table.list_processes_of(uid):
        # map_files (proc(5)) has those that are mapped and not open any more.
        for folder in (f"/proc/{entry.pid}/fd", f"/proc/{entry.pid}/map_files"):
            try:
                for status in _list_statuses(folder):
                    if _is_deleted_file(status) and status.st_dev in count.devices:
                        count.add(status)
            except PermissionError:
                count.is_complete = False
            except OSError:  # the process has ended
                continue


def _list_statuses(folder: str) -> Iterator[os.stat_result]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.stat()


def _is_deleted_file(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 0
