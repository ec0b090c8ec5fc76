"""The files of the commit that a slot previews: laid out from our own repository, given to a user.

Git never runs with its working directory in here. Nothing below is trusted: it is opened one step
at a time without following links, and deleted without following them either.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from host.config import Config, SlotConfig
from host.files import ownership
from host.process.runner import User

if TYPE_CHECKING:  # a slot's commands start sooner without it
    from host.git.bare_repository import Repository

TRASH = "trash-"
# What a slot has whether it is leased or not: its surface and its locks.
KEPT = ("activations", "current", "surface.lock", "occupant.lock")


def path(slot: SlotConfig) -> Path:
    """Return where the slot's worktree is, or would be."""
    return slot.folder / "worktree"


def prepare_folder(config: Config, slot: SlotConfig) -> None:
    """Make the slot's folder: its user may pass through it, the other slots' may not."""
    ownership.close(config)
    slot.folder.mkdir(exist_ok=True)
    ownership.admit(slot.folder, config.slot_user(slot))


def lay_out(
    config: Config, slot: SlotConfig, repository: "Repository", commit: str, user: User | None
) -> list[str]:
    """Put the commit's files in the slot's worktree, owned by `user`, replacing what was there.

    Returns sentences about what was left out. Raises Refused of `Repository.lay_out`.
    """
    prepare_folder(config, slot)
    remove(config, slot)
    fresh = slot.folder / f"fresh-{os.urandom(6).hex()}"
    left_out = repository.lay_out(commit, fresh)
    ownership.give(fresh, user)
    fresh.rename(path(slot))
    (slot.folder / "worktree.commit").write_text(commit)
    return left_out


def commit(slot: SlotConfig) -> str | None:
    """Return the commit that is laid out; None if there is no whole worktree."""
    if not path(slot).is_dir():
        return None
    with suppress(FileNotFoundError):
        return (slot.folder / "worktree.commit").read_text()
    return None


def remove(config: Config, slot: SlotConfig) -> None:
    """Remove the worktree and what an interrupted lay-out or removal left. May be repeated.

    It is out of the way after one rename. Raises OSError if files cannot be deleted.
    """
    if path(slot).exists():
        path(slot).rename(slot.folder / f"{TRASH}{os.urandom(6).hex()}")
    (slot.folder / "worktree.commit").unlink(missing_ok=True)
    if slot.folder.exists():
        for entry in slot.folder.iterdir():
            if entry.name.startswith((TRASH, "fresh-", ".fresh-")):
                ownership.delete(entry)


def sweep(config: Config, slot: SlotConfig) -> None:
    """Remove all that a run had in the slot's folder: worktree, home, notes. May be repeated."""
    remove(config, slot)
    prepare_folder(config, slot)
    for entry in slot.folder.iterdir():
        if entry.name in KEPT:
            continue
        if entry.is_dir() and not entry.is_symlink():
            ownership.delete(entry)
        else:
            entry.unlink(missing_ok=True)


def leftovers(slot: SlotConfig) -> set[str]:
    """Return the names in the slot's folder that only a run would have left."""
    if not slot.folder.exists():
        return set()
    return {entry.name for entry in slot.folder.iterdir()} - set(KEPT)
