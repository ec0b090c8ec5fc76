"""Reads the files of a source tree that we do not trust: regular files in it, of limited size."""

import os
from pathlib import Path

from host.errors import ApplicationRefused, Refused
from host.files import safe_files

MEBIBYTE = 1024 * 1024
FILE_BYTES = 4 * MEBIBYTE
# Those of Node's package managers, which no parser reads: npm's version 2 names each package twice.
LOCK_FILE_BYTES = 32 * MEBIBYTE


class SourceTree:
    """An exported commit. A link, a device or a path that leaves the tree counts as absent."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read_bytes(self, path: str, most: int = FILE_BYTES) -> bytes | None:
        """Return a file's content; None if there is no such file.

        Raises Refused `manifest_invalid` (400) for one that is larger than `most` bytes.
        """
        data = self._read(path, most + 1)
        if data is not None and len(data) > most:
            detail = f"{os.path.normpath(path)} is larger than {most // MEBIBYTE} MiB."
            raise ApplicationRefused("manifest_invalid", detail)
        return data

    def read_source(self, path: str) -> str:
        """Return the text of a file in which something is only searched; "" if there is none.

        It never raises Refused: what is not UTF-8 is replaced, and what follows 4 MiB is left out.
        """
        return (self._read(path, FILE_BYTES) or b"").decode("utf-8-sig", errors="replace")

    def _read(self, path: str, most: int) -> bytes | None:
        try:
            with safe_files.open_beneath(self.root, os.path.normpath(path)) as file:
                return file.read(most)
        except (OSError, Refused):
            return None

    def read_text(self, path: str) -> str | None:
        """Return a file's content as text, without a byte order mark.

        Raises Refused `manifest_invalid` (400) if it is not UTF-8.
        """
        data = self.read_bytes(path)
        try:
            return None if data is None else data.decode("utf-8-sig")
        except UnicodeDecodeError:
            detail = f"{os.path.normpath(path)} is not UTF-8 text: save it as UTF-8."
            raise ApplicationRefused("manifest_invalid", detail) from None

    def has_file(self, path: str) -> bool:
        """Return whether there is such a file, of whatever size."""
        try:
            safe_files.open_beneath(self.root, os.path.normpath(path)).close()
        except (OSError, Refused):
            return False
        return True

    def list_folders(self, path: str) -> list[str]:
        """Return the names of the folders within a folder of the tree, sorted."""
        entries = self._scan(path)
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def list_files(self, path: str) -> list[str]:
        """Return the names of the files within a folder of the tree, sorted."""
        entries = self._scan(path)
        return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))

    def _scan(self, path: str) -> list[os.DirEntry[str]]:
        folder = self.root / os.path.normpath(path)
        if not folder.resolve().is_relative_to(self.root.resolve()) or not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            return list(entries)
