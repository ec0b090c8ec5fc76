"""The worktree of a slot: the files of the commit that it previews, owned by the slot's user.

Git writes the files but never runs with its working directory in the worktree. The files are not
trusted: they are opened and deleted without following links.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from host.config import Config, SlotConfig
from host.files import ownership
from host.files.surface_folder import CHANGED
from host.process.users import User

if TYPE_CHECKING:  # importing it would slow down the start of a slot's commands
    from host.git.bare_repository import Repository

TRASH_PREFIX = "trash-"
# What an interrupted check-out, removal or sealing leaves.
REMAINS = (TRASH_PREFIX, "fresh-", ".fresh-", ".worktree.")
# What a slot's folder contains whether the slot is leased or not: its surface and its locks.
PERMANENT_ENTRIES = ("activations", "current", CHANGED, "surface.lock", "backend.lock")


def path(slot: SlotConfig) -> Path:
    """Return the path of the slot's worktree, which may not exist."""
    return slot.folder / "worktree"


def storage_folder(slot: SlotConfig) -> Path:
    """Return the folder of the storage that the run's worktree is linked to."""
    return slot.folder / "storage"


def prepare_folder(config: Config, slot: SlotConfig) -> None:
    """Create the slot's folder: its user may traverse it, other slots' users may not."""
    ownership.restrict_var(config)
    slot.folder.mkdir(exist_ok=True)
    ownership.allow_traversal(slot.folder, config.slot_user(slot))


def check_out(
    config: Config, slot: SlotConfig, repository: "Repository", commit: str, user: User | None
) -> list[str]:
    """Replace the slot's worktree with the commit's files, owned by `user`.

    Returns sentences about files that were left out. Raises Refused as `Repository.export_commit`.
    """
    prepare_folder(config, slot)
    remove(config, slot)
    fresh = slot.folder / f"fresh-{os.urandom(6).hex()}"
    left_out = repository.export_commit(commit, fresh)
    ownership.give_tree(fresh, user)
    fresh.rename(path(slot))
    # Last: without this file the worktree counts as missing, and the step is repeated.
    (slot.folder / "worktree.commit").write_text(commit)
    return left_out


def seal(slot: SlotConfig) -> None:
    """Make the worktree read-only for its user, as a release's files are. May be repeated.

    The processes that wrote it must have ended. Raises Refused `build_failed` if it is nested too
    deeply.
    """
    ownership.take_back(path(slot))


def read_commit(slot: SlotConfig) -> str | None:
    """Return the commit of the worktree; None if there is no complete worktree."""
    if not path(slot).is_dir():
        return None
    with suppress(FileNotFoundError):
        return (slot.folder / "worktree.commit").read_text()
    return None


def remove(config: Config, slot: SlotConfig) -> None:
    """Remove the worktree and what an interrupted check-out or removal left. May be repeated.

    Raises OSError if files cannot be deleted.
    """
    # Renamed first: a removal that is interrupted leaves no worktree that looks complete.
    if path(slot).exists():
        path(slot).rename(slot.folder / f"{TRASH_PREFIX}{os.urandom(6).hex()}")
    (slot.folder / "worktree.commit").unlink(missing_ok=True)
    if slot.folder.exists():
        for entry in slot.folder.iterdir():
            if entry.name.startswith(REMAINS):
                ownership.delete_tree(entry)


def remove_run_files(config: Config, slot: SlotConfig) -> None:
    """Remove everything of a run in the slot's folder: worktree, home, notes. May be repeated."""
    remove(config, slot)
    prepare_folder(config, slot)
    for entry in slot.folder.iterdir():
        if entry.name in PERMANENT_ENTRIES:
            continue
        if entry.is_dir() and not entry.is_symlink():
            ownership.delete_tree(entry)
        else:
            entry.unlink(missing_ok=True)


def find_leftovers(slot: SlotConfig) -> set[str]:
    """Return the names in the slot's folder that a run left."""
    if not slot.folder.exists():
        return set()
    return {entry.name for entry in slot.folder.iterdir()} - set(PERMANENT_ENTRIES)
