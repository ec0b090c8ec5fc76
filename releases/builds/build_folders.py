"""Where a release's build lies: `var/releases/<id>` with `app` and `public`. No Django.

Its storage lies elsewhere, because it outlives releases: the build's links lead through one link
per release, outside of the build, to the storage of the instance that runs it.
"""

from pathlib import Path

from host.config import Config


def build_folder(config: Config, release_id: str) -> Path:
    """Return the folder of a release's build, whether or not it exists."""
    return config.var / "releases" / release_id


def source_folder(config: Config, release_id: str) -> Path:
    """Return the folder of the application's source tree, installed and built."""
    return build_folder(config, release_id) / "app"


def public_folder(config: Config, release_id: str) -> Path | None:
    """Return the folder of the frontend's output; None if the backend serves everything."""
    path = build_folder(config, release_id) / "public"
    return path if path.is_dir() else None


def storage_root(config: Config) -> Path:
    """Return the folder of all storage of production and of the merge gate's start."""
    return config.var / "storage"


def production_storage(config: Config) -> Path:
    """Return the folder of production's storage, which both colours and all releases share."""
    return storage_root(config) / "production"


def storage_link(config: Config, release_id: str) -> Path:
    """Return the link, named for the release, to the storage of the instance that runs it."""
    return storage_root(config) / "releases" / release_id
