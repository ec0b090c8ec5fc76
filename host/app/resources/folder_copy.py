"""Copies a folder of an application's files, as its user: it may let no other user read them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from host.capacity import read_free_disk_mb
from host.process import runner
from host.process.termination import MARK_VARIABLE
from host.process.users import User

SECONDS = 60.0
TOO_LARGE = 3
# Sparse files, links, sockets and FIFOs are copied as what they are; `du` counts the space in use.
# One program, as the user: a second start would take another sandbox.
SCRIPT = """\
kilobytes=$(du -skx -- "$1" | cut -f 1)
[ "$kilobytes" -le "$3" ] || exit "$4"
exec find "$1" -mindepth 1 -maxdepth 1 -exec cp -a --reflink=auto -t "$2" -- {} +
"""


@dataclass(frozen=True)
class FolderCopy:
    """How folders are copied: as whom, how much of each, and what ends it; `log` has the errors."""

    user: User | None
    limit_mb: int
    log: Path
    stop: Callable[[], bool]
    job: str

    def fill(self, source: Path, target: Path) -> str:
        """Copy what `source` holds into the empty folder `target`, which the user may write.

        Returns "", or why it is not a complete copy, which completes a sentence about `source`.
        Raises OSError.
        """
        limit_mb = min(self.limit_mb, read_free_disk_mb(target) // 2)
        outcome = runner.run(
            [
                "/bin/sh",
                "-c",
                SCRIPT,
                "sh",
                str(source),
                str(target),
                str(limit_mb * 1024),
                str(TOO_LARGE),
            ],
            cwd=target,
            log=self.log,
            timeout=SECONDS,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", MARK_VARIABLE: self.job},
            user=self.user,
            stop=self.stop,
        )
        if outcome.exit_code == TOO_LARGE:
            return f"uses more than {limit_mb} MiB"
        if outcome.timed_out:
            return f"could not be copied within {SECONDS:.0f} s"
        return "" if outcome.exit_code == 0 else "has files that could not be copied"
