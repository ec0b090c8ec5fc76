"""Somebody else's tree of files, read with care: regular files within it, of a bounded size."""

import os
from pathlib import Path

from host.errors import Refused
from host.files import safe_files

FILE_BYTES = 4 * 1024 * 1024  # lock files of npm reach 1 MiB


class Tree:
    """A laid-out commit. A link, a device or a path that leaves the tree counts as absent."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes | None:
        """Return a file's content, None if there is no such file.

        Raises Refused `manifest_invalid` (400) for one that is larger than 4 MiB.
        """
        try:
            with safe_files.open_beneath(self.root, os.path.normpath(path)) as file:
                data = file.read(FILE_BYTES + 1)
        except (OSError, Refused):
            return None
        if len(data) > FILE_BYTES:
            raise Refused("manifest_invalid", f"{path} is larger than 4 MiB.", status=400)
        return data

    def text(self, path: str) -> str | None:
        """Return a file's content as text; raises Refused `manifest_invalid` if it is not UTF-8."""
        data = self.read(path)
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError:
            raise Refused("manifest_invalid", f"{path} is not UTF-8 text.", status=400) from None

    def has(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return self.read(path) is not None

    def folders(self, path: str) -> list[str]:
        """Return the names of the folders within a folder of the tree, sorted."""
        folder = self.root / os.path.normpath(path)
        if not folder.resolve().is_relative_to(self.root.resolve()) or not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
