"""What production serves: `var/current`, a link to one deployment's folder, switched by one rename.

The number of the folder in `var/activations` is the deployment's. Plain files, no Django: see
`host.files.surface_folder` and docs/decisions/0006.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from host.config import Config
from host.files.hashed_names import is_certainly_hashed
from host.files.surface_folder import LiveFile, SurfaceFolder


@dataclass(frozen=True)
class PreviousAssets:
    """Files of a built frontend, relative to its folder, and until when they count (Unix time)."""

    folder: Path
    paths: tuple[str, ...]
    until: int


def link_path(config: Config) -> Path:
    """Return the link that the surface reads at every request."""
    return _surface_folder(config).link


def deployment_folder(config: Config, number: int) -> Path:
    """Return the folder of that deployment's files."""
    return _surface_folder(config).version(number)


def read(config: Config) -> LiveFile | None:
    """Return what is live; None if the link is missing or names no complete deployment."""
    return _surface_folder(config).read_current()


def write(
    config: Config, live: LiveFile, public: Path | None, previous: PreviousAssets | None
) -> None:
    """Write the deployment's folder unless it exists with the same content.

    `public` is the built frontend of its release, `previous` what stays of the one before.
    """
    live = replace(live, has_public=public is not None)
    if previous is not None:
        live = replace(live, previous_until=previous.until)
    folder = _surface_folder(config)
    written = folder.read_version(live.number)
    # By an earlier attempt: the surface may read it already, so it is not replaced.
    if written is not None and replace(written, previous_until=live.previous_until) == live:
        return
    final = folder.version(live.number)
    with folder.write_version(live) as unfinished:
        if public is not None:
            # Relative, so that the checkout can be moved.
            (unfinished / "public").symlink_to(os.path.relpath(public, final))
            _mark_hashed(public, unfinished / "hashed")
        if previous is not None:
            _link_previous(previous, unfinished, final)


def _mark_hashed(public: Path, folder: Path) -> None:
    """Write an empty file for each file that browsers may keep for long."""
    for root, _, names in os.walk(public):
        hashed = [name for name in names if is_certainly_hashed(name)]
        if hashed:
            marks = folder / os.path.relpath(root, public)
            marks.mkdir(parents=True, exist_ok=True)
            for name in hashed:
                (marks / name).touch()


def _link_previous(previous: PreviousAssets, unfinished: Path, final: Path) -> None:
    for path in previous.paths:
        link = unfinished / "previous" / path
        link.parent.mkdir(parents=True, exist_ok=True)
        final_folder = (final / "previous" / path).parent
        link.symlink_to(os.path.relpath(previous.folder / path, final_folder))


def switch(config: Config, number: int) -> None:
    """Make that deployment live: one rename, kept by an fsync of the folder."""
    _surface_folder(config).switch(number)


def read_age(config: Config) -> float:
    """Return for how many seconds the link has not changed."""
    return _surface_folder(config).read_age()


def clear(config: Config) -> None:
    """Make no deployment live."""
    _surface_folder(config).clear()


def remove_folders_except(config: Config, numbers: Iterable[int]) -> list[int]:
    """Remove the other deployments' folders and unfinished ones; return the numbers removed."""
    return _surface_folder(config).remove_all_except(numbers)


def _surface_folder(config: Config) -> SurfaceFolder:
    return SurfaceFolder(config.var)
