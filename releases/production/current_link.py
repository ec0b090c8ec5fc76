"""What production serves: `var/current`, a link to one deployment's folder, switched by one rename.

The number of the folder in `var/activations` is the deployment's. Plain files, no Django: see
`host.files.surface_folder` and docs/decisions/0006.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from host.config import Config
from host.files.surface_folder import LiveFile, SurfaceFolder


def link_path(config: Config) -> Path:
    """Return the link that the surface reads at every request."""
    return _surface_folder(config).link


def deployment_folder(config: Config, number: int) -> Path:
    """Return the folder of that deployment's files."""
    return _surface_folder(config).version(number)


def read(config: Config) -> LiveFile | None:
    """Return what is live; None if the link is missing or names no complete deployment."""
    return _surface_folder(config).read_current()


def write(config: Config, live: LiveFile, public: Path | None, previous: Path | None) -> None:
    """Write the deployment's folder unless it exists with the same content.

    `public` and `previous` are the built frontends of its release and of the one before.
    """
    live = replace(live, has_public=public is not None)
    folder = _surface_folder(config)
    # Written by an earlier attempt: the surface may read it already, so it is not replaced.
    if folder.read_version(live.number) == live:
        return
    with folder.write_version(live) as unfinished:
        for name, target in (("public", public), ("previous", previous)):
            if target is not None:
                # Relative, so that the checkout can be moved.
                relative = os.path.relpath(target, folder.version(live.number))
                (unfinished / name).symlink_to(relative)


def switch(config: Config, number: int) -> None:
    """Make that deployment live: one rename, kept by an fsync of the folder."""
    _surface_folder(config).switch(number)


def clear(config: Config) -> None:
    """Make no deployment live."""
    _surface_folder(config).clear()


def remove_folders_except(config: Config, numbers: Iterable[int]) -> list[int]:
    """Remove the other deployments' folders and unfinished ones; return the numbers removed."""
    return _surface_folder(config).remove_all_except(numbers)


def _surface_folder(config: Config) -> SurfaceFolder:
    return SurfaceFolder(config.var)
