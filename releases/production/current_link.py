"""What production's surface reads: `var/current`, a link to one activation, switched by one rename.

`activations/<n>` holds `live` ("<n> <address> <commit>"), `public` and `previous`; it never changes
once it is written. Plain files, no Django: see docs/decisions/0006.
"""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host.config import Config
from host.files import safe_files

LINE = re.compile(r"([0-9]+) (127\.0\.0\.1:[0-9]+) ([0-9a-f]{40})\n")


@dataclass(frozen=True)
class Pointer:
    """What is live on the disk."""

    number: int
    address: str
    commit: str


def link(config: Config) -> Path:
    """Return the link that the surface reads at every request."""
    return config.var / "current"


def folder(config: Config, number: int) -> Path:
    """Return where that activation's files lie."""
    return config.var / "activations" / str(number)


def read(config: Config) -> Pointer | None:
    """Return what the link names now; None if nothing is live or what it names is not whole."""
    match = LINE.fullmatch(_line(link(config)))
    return Pointer(int(match[1]), match[2], match[3]) if match else None


def _line(place: Path) -> str:
    try:
        return (place / "live").read_text()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write(
    config: Config,
    pointer: Pointer,
    public: Path | None,
    previous: Path | None,
) -> None:
    """Write the activation's folder whole or not at all; one that is there already is right."""
    place = folder(config, pointer.number)
    wanted = f"{pointer.number} {pointer.address} {pointer.commit}\n"
    if _line(place) == wanted:
        return
    fresh = place.with_name(f".{pointer.number}.{os.urandom(6).hex()}")
    fresh.mkdir(parents=True, mode=0o755)
    for name, target in (("public", public), ("previous", previous)):
        if target is not None:
            (fresh / name).symlink_to(os.path.relpath(target, place))
    safe_files.write_atomic(fresh / "live", wanted.encode())
    if place.exists():  # a database begun anew counts from 1 again
        shutil.rmtree(place)
    fresh.rename(place)


def switch(config: Config, number: int) -> None:
    """Make that activation live: one rename, kept by an fsync of the folder."""
    safe_files.replace_link(f"activations/{number}", link(config))


def clear(config: Config) -> None:
    """Let nothing be live."""
    link(config).unlink(missing_ok=True)


def keep_only(config: Config, numbers: Iterable[int]) -> list[int]:
    """Remove the other activations' folders and what an interrupted write left; returns which."""
    kept = {str(number) for number in numbers}
    removed = []
    root = config.var / "activations"
    for entry in root.iterdir() if root.exists() else ():
        if entry.name not in kept:
            shutil.rmtree(entry)
            removed += [int(entry.name)] if entry.name.isdigit() else []
    return sorted(removed)
