"""The changes that an installation makes to a host, each of which says whether it is made."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from host.files import safe_files
from host.service_user import SERVICE


@dataclass(frozen=True)
class InstallStep:
    """One change that the installation makes to the host."""

    description: str
    is_done: Callable[[], bool]
    apply: Callable[[], None]


def text_step(path: Path, text: str) -> InstallStep:
    """Write a file with that text."""

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        safe_files.write_atomic(path, text.encode())

    return InstallStep(str(path), lambda: path.is_file() and path.read_text() == text, write)


def absent_step(path: Path) -> InstallStep:
    """Remove a file."""
    return InstallStep(f"{path}, removed", lambda: not path.exists(), path.unlink)


def link_step(path: Path, target: Path) -> InstallStep:
    """Make a link that leads to `target`."""
    return InstallStep(
        f"{path}, a link",
        lambda: path.is_symlink() and path.readlink() == target,
        lambda: safe_files.replace_link(target, path),
    )


def folder_step(
    path: Path, mode: int = 0o711, group: str = SERVICE, needed: int = 0
) -> InstallStep:
    """Make a folder with that mode; the bits `needed`, by default all of them, must stay."""

    def is_done() -> bool:
        bits = needed or mode
        return path.is_dir() and path.owner() == SERVICE and path.stat().st_mode & bits == bits

    def write() -> None:
        path.mkdir(exist_ok=True)
        shutil.chown(path, SERVICE, group)
        path.chmod(mode)

    return InstallStep(f"{path}/", is_done, write)


def log_step(path: Path, group: str) -> InstallStep:
    """Make a log that the group's members write too."""

    def write() -> None:
        path.touch()
        shutil.chown(path, SERVICE, group)
        path.chmod(0o660)

    return InstallStep(str(path), path.exists, write)
