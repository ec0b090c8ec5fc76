"""The storage of a template database: the files that `release:` and the seed wrote.

Previews get a copy of it with their clone of the database, whose rows may name these files.
"""

from pathlib import Path

from host.app.application import Application
from host.app.resources import storage
from host.config import Config
from host.files import ownership


def storage_path(config: Config, template: str) -> Path:
    """Return the folder of a template's storage; it may not exist."""
    return config.var / "templates" / f"{template}.storage"


def save(config: Config, template: str, app: Application | None) -> None:
    """Keep the files in the storage folders of the tree in which the seed ran."""
    remove(config, template)  # of a build that was interrupted
    if app is not None and app.manifest.storage:
        # The seed may have made files that only its user can read.
        ownership.take_back(app.root)
        storage.save_copy(app.root, app.manifest.storage, storage_path(config, template))


def remove(config: Config, template: str) -> None:
    """Remove a template's storage; may be repeated."""
    ownership.delete_tree(storage_path(config, template))
