"""How much disk space a run's files use, and whether that is more than PREVIEW_DISK_MB."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from host.app.application import Application
from host.capacity import MEBIBYTE
from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.files import safe_walk
from host.process.users import User

QUOTA_MB = 10_240
CHECK_SECONDS = 5.0
BLOCK_BYTES = 512  # of st_blocks, stat(2)


@dataclass(frozen=True)
class Place:
    """A folder whose files count; with `uid` only those of that user."""

    folder: Path
    uid: int | None = None


def list_slot_places(config: Config, slot: SlotConfig) -> list[Place]:
    """Return where a slot's run has its files: the slot's folder, and the homes of its commands."""
    return [Place(slot.folder), *_list_homes(config, config.slot_user(slot))]


def list_places(app: Application) -> list[Place]:
    """Return where an application outside the slots has its files, also while it is installed."""
    config = app.config
    installs = [
        Place(install.folder(config, app.root)) for install in app.plan.installs if install.shared
    ]
    return [Place(app.root), *installs, *_list_homes(config, app.user, config.install_user)]


def _list_homes(config: Config, *users: User | None) -> list[Place]:
    """Return the folder of all commands' homes for each user, by whose files they are told apart.

    Without users of their own nothing says whose they are: then they do not count.
    """
    return [Place(config.var / "tmp", user.uid) for user in dict.fromkeys(users) if user]


def describe_excess(config: Config, subject: str, places: Sequence[Place]) -> str:
    """Return a sentence if the files in these places use more than the quota, else ""."""
    quota = config.get_integer("PREVIEW_DISK_MB", QUOTA_MB)
    used = 0
    for place in places:
        used += measure_mb(place.folder, quota - used, place.uid)
        if used > quota:
            return (
                f"{subject} uses more than {quota} MB of disk space (PREVIEW_DISK_MB): have the"
                " branch write less, or raise the limit."
            )
    return ""


def measure_mb(folder: Path, enough_mb: int, uid: int | None = None) -> int:
    """Return the space in MiB of the files below `folder`; the counting ends above `enough_mb`.

    A file with several names counts once. What a process moves or deletes meanwhile may be missed.
    """
    seen, blocks = set(), 0
    with suppress(OSError):
        for visited in safe_walk.walk_folders(folder):
            for name in visited.names:
                with suppress(OSError):
                    status = os.stat(name, dir_fd=visited.descriptor, follow_symlinks=False)
                    if status.st_ino not in seen and uid in (None, status.st_uid):
                        seen.add(status.st_ino)
                        blocks += status.st_blocks
            if blocks * BLOCK_BYTES > enough_mb * MEBIBYTE:
                return enough_mb + 1
    return blocks * BLOCK_BYTES // MEBIBYTE


class DiskWatch:
    """Whether a command is to end: `stop` says so, or the files in `places` use too much space."""

    def __init__(
        self, config: Config, subject: str, places: Sequence[Place], stop: Callable[[], bool]
    ) -> None:
        self.config, self.subject, self.places, self.stop = config, subject, places, stop
        self.excess = ""
        self._pause = Deadline(CHECK_SECONDS)

    def __call__(self) -> bool:
        """Measure every CHECK_SECONDS; `excess` has the sentence afterwards."""
        if self._pause.has_passed:
            self.excess = self.excess or describe_excess(self.config, self.subject, self.places)
            self._pause = Deadline(CHECK_SECONDS)
        return bool(self.excess) or self.stop()
