"""Free memory and disk of this host, in MiB."""

import shutil
from pathlib import Path

MEBIBYTE = 1024 * 1024


def read_available_memory_mb(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the memory that new processes can use without swapping: MemAvailable, proc(5)."""
    for line in meminfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) // 1024  # the file has KiB
    raise ValueError(f"{meminfo} has no MemAvailable")


def read_free_disk_mb(folder: Path) -> int:
    """Return the free space of the file system that holds `folder`."""
    return shutil.disk_usage(folder).free // MEBIBYTE
