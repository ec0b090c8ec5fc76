"""Which ends of units were reported: each end is reported once, by the first process that sees it.

A unit's end is its process's, unless a stop asked for it: a stop holds the unit's lock and removes
its file. What was reported is in a file beside the unit's, as several processes look.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from host.errors import Refused
from host.files import safe_files
from host.files.file_lock import file_lock
from host.process import process_table
from host.units.unit import UnitManager, UnitStatus, find_lock

# A unit that systemd starts again each second would fill the timeline: after so many ends in a row
# one is reported each minute. Ends further apart than RESET_SECONDS are not in a row.
REPORTED_AT_ONCE = 10
REPEAT_SECONDS = 60.0
RESET_SECONDS = 120.0


@dataclass(frozen=True)
class Reported:
    """What is known of a unit's ends. `start` names the start by us from which `ends` are counted.

    `ended` is the start time of the last process that was found ended; `in_row` and `at` (Unix
    time) are of the ends that were reported.
    """

    start: str = ""
    ends: int = 0
    ended: float = 0.0
    in_row: int = 0
    at: float = 0.0

    def count_ends(self, status: UnitStatus) -> int:
        """Return how often the unit has ended since its start."""
        if status.is_active:
            return max(self.ends, status.restarts)
        # Systemd counts a restart shortly before it: only another process is another end.
        is_new = status.start_time is not None and status.start_time != self.ended
        return self.ends + is_new

    def is_report_due(self, at: float) -> bool:
        """Return whether an end is reported at that time."""
        return self.in_row < REPORTED_AT_ONCE or not 0 <= at - self.at < REPEAT_SECONDS

    def add(self, status: UnitStatus, at: float, *, is_reported: bool) -> "Reported":
        """Return what is known after an end that was, or was not, reported."""
        ended = self.ended if status.is_active else status.start_time or 0.0
        ends, in_row = self.count_ends(status), self.in_row
        if not is_reported:
            return Reported(self.start, ends, ended, in_row, self.at)
        in_row = 1 if at - self.at > RESET_SECONDS else in_row + 1
        return Reported(self.start, ends, ended, in_row, at)


@contextmanager
def find_new_end(manager: UnitManager, name: str) -> Iterator[UnitStatus | None]:
    """Yield the unit's status if it has ended and no process has reported that, else None.

    The end counts as reported when the block ends without an exception. While another process
    starts or stops the unit, or reports it, there is none.
    """
    folder = manager.find_file(name).parent
    with file_lock(find_lock(folder, name), seconds=0) as is_taken:
        start = _read_start(manager, name) if is_taken else ""
        known, kept = _read(folder, name, start), manager.read_kept_end(name) if start else None
        if kept is not None and kept.start_time == _read_last(folder, name).ended:
            manager.find_kept_end(name).unlink(missing_ok=True)
            kept = None
        status = kept or (_read_status(manager, name) if start else None)
        if status is None or (kept is None and known.count_ends(status) == known.ends):
            yield None
            return
        is_due = known.is_report_due(time.time())
        yield status if is_due else None
        after = known.add(status, time.time(), is_reported=is_due)
        # The end before the last start is none of those since it.
        _write(folder, name, after if kept is None else replace(after, ends=known.ends))
        if kept is not None:
            manager.find_kept_end(name).unlink(missing_ok=True)


def _read_start(manager: UnitManager, name: str) -> str:
    """Return what tells the unit's last start by us from all others; "" if it was stopped."""
    try:
        written = manager.find_file(name).stat().st_mtime_ns
    except FileNotFoundError:
        return ""
    return f"{process_table.read_boot_id()} {written}"


def _read_status(manager: UnitManager, name: str) -> UnitStatus | None:
    with suppress(Refused):  # systemd does not know the unit
        return manager.status(name)
    return None


def _path(folder: Path, name: str) -> Path:
    # Not .json: those files are units.
    return folder / f"{name}.ends"


def _read_last(folder: Path, name: str) -> Reported:
    """Return what was last written, for whatever start."""
    try:
        return Reported(**json.loads(_path(folder, name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return Reported()


def _read(folder: Path, name: str, start: str) -> Reported:
    known = _read_last(folder, name)
    return known if known.start == start else Reported(start, in_row=known.in_row, at=known.at)


def _write(folder: Path, name: str, known: Reported) -> None:
    text = json.dumps(asdict(known))
    safe_files.write_atomic(_path(folder, name), text.encode(), 0o600, survives_reboot=False)
