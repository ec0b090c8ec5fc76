"""Reads the files of a source tree that we do not trust: regular files in it, of limited size."""

import os
from pathlib import Path

from host.errors import ApplicationRefused, Refused
from host.files import safe_files

FILE_BYTES = 4 * 1024 * 1024  # lock files of npm reach 1 MiB


class SourceTree:
    """An exported commit. A link, a device or a path that leaves the tree counts as absent."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read_bytes(self, path: str) -> bytes | None:
        """Return a file's content; None if there is no such file.

        Raises Refused `manifest_invalid` (400) for one that is larger than 4 MiB.
        """
        try:
            with safe_files.open_beneath(self.root, os.path.normpath(path)) as file:
                data = file.read(FILE_BYTES + 1)
        except (OSError, Refused):
            return None
        if len(data) > FILE_BYTES:
            detail = f"{os.path.normpath(path)} is larger than 4 MiB."
            raise ApplicationRefused("manifest_invalid", detail)
        return data

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
