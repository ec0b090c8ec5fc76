"""An immutable build: a manifest of its files' checksums, then read-only and ours.

A build that has its manifest is whole; one that has none was interrupted. No Django.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from host.errors import Refused
from host.files import ownership, safe_files

MANIFEST = "manifest.json"
READ_BYTES = 1024 * 1024


def close(folder: Path, facts: Mapping[str, Any]) -> str:
    """Take the build from whoever made it, write its manifest; returns the manifest's checksum.

    It is ours then, and nobody may write any of it again.
    """
    ownership.take(folder)
    folder.chmod(0o755)
    listing = {name: _checksum(folder / name) for name in _entries(folder)}
    text = json.dumps({**facts, "files": listing}, indent=1, sort_keys=True) + "\n"
    safe_files.write_atomic(folder / MANIFEST, text.encode(), 0o444)
    folder.chmod(0o555)
    return hashlib.sha256(text.encode()).hexdigest()


def facts(folder: Path) -> dict[str, Any] | None:
    """Return what the manifest says of a whole build; None if there is none, or it is no folder."""
    try:
        return json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def checksum(folder: Path) -> str:
    """Return the checksum of the build's manifest as it is on the disk."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def verify(folder: Path, expected: str) -> None:
    """Compare every file with the manifest, and the manifest with `expected`.

    Raises Refused `release_corrupt` naming the first file that differs, is missing or is new.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
    except OSError:
        raise _corrupt(folder, "its build is gone") from None
    if hashlib.sha256(raw).hexdigest() != expected:
        raise _corrupt(folder, f"{MANIFEST} is not the one of the build")
    listing = json.loads(raw)["files"]
    found = set(_entries(folder)) - {MANIFEST}
    for name in sorted(found ^ set(listing)):
        raise _corrupt(folder, f"{name} {'is missing' if name in listing else 'was added'}")
    for name, wanted in listing.items():
        if _checksum(folder / name) != wanted:
            raise _corrupt(folder, f"the checksum of {name} differs")


def _corrupt(folder: Path, why: str) -> Refused:
    detail = f"The build {folder.name} cannot be trusted: {why}. Deploy its commit again."
    return Refused("release_corrupt", detail)


def _entries(folder: Path) -> Iterator[str]:
    """Return the relative paths of all files and links; links to folders are not entered."""
    for root, folders, names in os.walk(folder):
        here = Path(root)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield str((here / name).relative_to(folder))


def _checksum(path: Path) -> str:
    if path.is_symlink():
        return f"link:{os.readlink(path)}"  # noqa: PTH115 — as it is, not as a Path
    if not path.is_file():
        return "special"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
