"""The build manifest: how a release is launched, and the checksums of its files. No Django.

It is written last: a build without one was interrupted.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from host.errors import Refused
from host.files import ownership, safe_files

MANIFEST = "manifest.json"
READ_BYTES = 1024 * 1024
# Before the size and the time of a file that is a hard link into an install.
SHARED = "shared:"


def finalize_build(folder: Path, fields: Mapping[str, Any]) -> str:
    """Write the manifest, make the build read-only, and return the manifest's SHA-256.

    The control plane's user owns the build from then on, in place of the jobs' user.
    """
    ownership.take_back(folder)
    # take_back made the folder read-only, but the manifest is still to be written.
    folder.chmod(0o755)
    listing = {name: _describe_file(folder / name) for name in _list_files(folder)}
    text = json.dumps({**fields, "files": listing}, indent=1, sort_keys=True) + "\n"
    # The last file, written by a rename: its presence says that the build is complete.
    safe_files.write_atomic(folder / MANIFEST, text.encode(), 0o444)
    folder.chmod(0o555)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a complete build; None if it is missing or unreadable."""
    try:
        return json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def verify_build(folder: Path, expected: str) -> None:
    """Compare every file with the manifest, and the manifest with its SHA-256 `expected`.

    Raises Refused `release_corrupt` naming the first file that differs, is missing or is new.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
    except OSError:
        raise _corrupt_refusal(folder, "it is missing") from None
    if hashlib.sha256(raw).hexdigest() != expected:
        raise _corrupt_refusal(folder, f"{MANIFEST} was changed")
    listing = json.loads(raw)["files"]
    present = set(_list_files(folder)) - {MANIFEST}
    for name in sorted(present ^ set(listing)):
        raise _corrupt_refusal(folder, f"{name} {'is missing' if name in listing else 'was added'}")
    for name, checksum in listing.items():
        path = folder / name
        is_shared = checksum.startswith(SHARED)
        if (_describe_shared(path) if is_shared else _compute_checksum(path)) != checksum:
            raise _corrupt_refusal(folder, f"the checksum of {name} differs")


def _corrupt_refusal(folder: Path, reason: str) -> Refused:
    detail = f"The build {folder.name} cannot be used: {reason}. Deploy its commit again."
    return Refused("release_corrupt", detail)


def _list_files(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files and links; links are not followed."""
    for root, folders, names in os.walk(folder):
        base = Path(root)
        # os.walk lists links to folders among the folders and does not follow them.
        links = [name for name in folders if (base / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield str((base / name).relative_to(folder))


def _describe_file(path: Path) -> str:
    """Return the checksum of a file, or the size and time of one that an install shares.

    Installs have hundreds of megabytes, which every deployment and rollback would read.
    """
    info = path.lstat()
    is_shared = info.st_nlink > 1 and stat.S_ISREG(info.st_mode)
    return _describe_shared(path) if is_shared else _compute_checksum(path)


def _describe_shared(path: Path) -> str:
    info = path.lstat()
    # Whole seconds: archives of a backup have no more.
    is_regular = stat.S_ISREG(info.st_mode)
    return f"{SHARED}{info.st_size}:{int(info.st_mtime)}" if is_regular else "special"


def _compute_checksum(path: Path) -> str:
    if path.is_symlink():
        return f"link:{os.readlink(path)}"  # noqa: PTH115 — Path would normalize it
    if not path.is_file():
        return "special"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
