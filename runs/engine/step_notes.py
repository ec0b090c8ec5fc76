"""Notes that a step leaves on disk: its effect is complete, although the host cannot show it.

A migration that ran or a build that ended looks like one that was interrupted. The step therefore
writes a note after the effect, and its probe reads it. A note names what it belongs to (a run and
a fence, or a candidate), so that it never stands for another run's effect.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host.files import safe_files


def write_note(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write the note `name` atomically, readable by us only: it may hold a database password."""
    safe_files.write_atomic(_path(folder, name), json.dumps(content).encode(), 0o600)


def read_note(folder: Path, name: str, expected: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the note `name`; {} if it is missing, unreadable or lacks an item of `expected`."""
    try:
        note = json.loads(_path(folder, name).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    return note if note.items() >= (expected or {}).items() else {}


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.done"
