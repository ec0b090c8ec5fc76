"""Measures what the control plane's own user may not look at, under systemd.

The worker is not root there: a folder that an application closes to others, and its deleted files,
are hidden from it. The unit `ouroboros-disk@<id>` runs this module as the same user with the rights
to look anywhere and no others. It reads a request, writes how many MiB it found, and ends.
"""

import json
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import config
from host.disk import space
from host.disk.space import Place
from host.files import safe_files
from host.units import jobs

FOLDER = Path("/run/oroboros/disk")


@dataclass(frozen=True)
class Answer:
    """The space in MiB as the unit finds it; None without an answer: `has_started` says why."""

    mb: int | None = None
    has_started: bool = False


def measure_all(places: Sequence[Place], enough_mb: int) -> Answer:
    """Have the unit measure the places, all of which lie in `var`."""
    name = os.urandom(8).hex()
    request, answer = _request(name), _answer(name)
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    asked = {"enough_mb": enough_mb, "places": [[str(one.folder), one.uid] for one in places]}
    try:
        safe_files.write_atomic(request, json.dumps(asked).encode(), 0o600)
        jobs.run_systemctl("start", "--", f"ouroboros-disk@{name}.service")
        return parse_answer(answer.read_text())
    except OSError:
        return Answer()
    finally:
        for path in (request, answer):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def parse_answer(text: str) -> Answer:
    """Return the answer of a unit that has ended: one that was killed has written no number."""
    return Answer(int(text) if text.isdecimal() else None, has_started=True)


def main(name: str, var: Path = config.HOME / "var") -> None:
    """Answer the request of that name: what the unit executes. Under systemd `var` is fixed."""
    asked = read_request(_request(name))
    places = [Place(Path(folder), uid) for folder, uid in asked["places"]]
    check_places(places, var)
    safe_files.write_atomic(_answer(name), b"", 0o600)  # it has started
    found = space.measure(places, int(asked["enough_mb"]))
    safe_files.write_atomic(_answer(name), str(found.mb).encode(), 0o600)


def read_request(path: Path) -> Any:
    """Return the request, which only this user may have written: this process may read any file.

    Raises OSError for a symlink, PermissionError if the file is not a regular one of this user's.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{path} is not a file of the user's that measures")
        return json.load(file)


def check_places(places: Sequence[Place], var: Path) -> None:
    """Raise PermissionError unless all places lie in `var`, whatever symlinks say."""
    for place in places:
        if not place.folder.resolve().is_relative_to(var.resolve()):
            raise PermissionError(f"{place.folder} is not in {var}")


def _request(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _answer(name: str) -> Path:
    return FOLDER / f"{name}.mb"


if __name__ == "__main__":
    main(sys.argv[1])
