"""Measures what the control plane's own user may not look at, under systemd.

The worker is not root there: a folder that an application closes to others, and its deleted files,
are hidden from it. The unit `ouroboros-disk@<id>` runs this module as the same user with the rights
to look anywhere and no others. It reads a request, writes how many MiB it found, and ends.
"""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from host.disk import space
from host.disk.space import Place
from host.files import safe_files
from host.units import jobs

FOLDER = Path("/run/oroboros/disk")


def measure_all(places: Sequence[Place], enough_mb: int) -> int | None:
    """Return the space in MiB as the unit finds it; None if it cannot be started."""
    name = os.urandom(8).hex()
    request, answer = _request(name), _answer(name)
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    asked = {"enough_mb": enough_mb, "places": [[str(one.folder), one.uid] for one in places]}
    try:
        safe_files.write_atomic(request, json.dumps(asked).encode(), 0o600)
        jobs.run_systemctl("start", "--", f"ouroboros-disk@{name}.service")
        return int(answer.read_text())
    except (OSError, ValueError):
        return None
    finally:
        for path in (request, answer):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def main(name: str) -> None:
    """Answer the request of that name: what the unit executes."""
    asked = json.loads(_request(name).read_text())
    places = [Place(Path(folder), uid) for folder, uid in asked["places"]]
    found = space.measure(places, int(asked["enough_mb"]))
    safe_files.write_atomic(_answer(name), str(found.mb).encode(), 0o600)


def _request(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _answer(name: str) -> Path:
    return FOLDER / f"{name}.mb"


if __name__ == "__main__":
    main(sys.argv[1])
