"""How much disk space a slot's run uses, and whether that is more than PREVIEW_DISK_MB."""

import os
from collections.abc import Callable
from pathlib import Path

from host.capacity import MEBIBYTE
from host.config import Config, SlotConfig
from host.deadline import Deadline
from host.files import safe_walk

QUOTA_MB = 10_240
CHECK_SECONDS = 5.0
BLOCK_BYTES = 512  # of st_blocks, stat(2)


def describe_excess(config: Config, slot: SlotConfig) -> str:
    """Return a sentence if the files in the slot's folder use more than the quota, else ""."""
    quota = config.get_integer("PREVIEW_DISK_MB", QUOTA_MB)
    if measure_mb(slot.folder, quota) <= quota:
        return ""
    return (
        f"{slot.slot_id} uses more than {quota} MB of disk space (PREVIEW_DISK_MB): have the branch"
        " write less, or raise the limit."
    )


def measure_mb(folder: Path, enough_mb: int) -> int:
    """Return the space in MiB of the files below `folder`; the counting ends above `enough_mb`.

    A file with several names counts once. 0 if a process moves folders meanwhile.
    """
    seen, blocks = set(), 0
    try:
        for visited in safe_walk.walk_folders(folder):
            for name in visited.names:
                status = os.stat(name, dir_fd=visited.descriptor, follow_symlinks=False)
                if status.st_ino not in seen:
                    seen.add(status.st_ino)
                    blocks += status.st_blocks
            if blocks * BLOCK_BYTES > enough_mb * MEBIBYTE:
                return enough_mb + 1
    except OSError:  # the next measurement finds it
        return 0
    return blocks * BLOCK_BYTES // MEBIBYTE


class DiskWatch:
    """Whether a command of a slot is to end: `stop` says so, or the slot uses too much space."""

    def __init__(self, config: Config, slot: SlotConfig, stop: Callable[[], bool]) -> None:
        self.config, self.slot, self.stop = config, slot, stop
        self.excess = ""
        self._pause = Deadline(CHECK_SECONDS)

    def __call__(self) -> bool:
        """Measure every CHECK_SECONDS; `excess` has the sentence afterwards."""
        if self._pause.has_passed:
            self.excess = self.excess or describe_excess(self.config, self.slot)
            self._pause = Deadline(CHECK_SECONDS)
        return bool(self.excess) or self.stop()
