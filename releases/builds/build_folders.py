"""Where a release's build lies: `var/releases/<id>` with `app` and `public`. No Django."""

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
