"""The files of the commit that a slot previews: laid out from our own repository, given to a user.

Git never runs with its working directory in here. Nothing below is trusted: it is opened one step
at a time without following links, and deleted without following them either.
"""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from oroboros.lib.config import Config, SlotConfig
from oroboros.lib.git import Repository
from oroboros.lib.process import User

TRASH = "trash-"


def path(slot: SlotConfig) -> Path:
    """Return where the slot's worktree is, or would be."""
    return slot.folder / "worktree"


def prepare_folder(config: Config, slot: SlotConfig) -> None:
    """Make the slot's folder: its user may pass through it, the other slots' may not."""
    for parent in (config.var, config.var / "slots"):
        parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    slot.folder.mkdir(exist_ok=True)
    user = config.slot_user(slot)
    if user is not None:
        os.chown(slot.folder, 0, user.gid)
    slot.folder.chmod(0o750)


def lay_out(
    config: Config, slot: SlotConfig, repository: Repository, commit: str, user: User | None
) -> list[str]:
    """Put the commit's files in the slot's worktree, owned by `user`, replacing what was there.

    Returns sentences about what was left out. Raises Refused of `Repository.lay_out`.
    """
    prepare_folder(config, slot)
    remove(config, slot)
    fresh = slot.folder / f"fresh-{os.urandom(6).hex()}"
    left_out = repository.lay_out(commit, fresh)
    if user is not None:
        give(fresh, user)
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


def give(root: Path, user: User) -> None:
    """Make `user` the owner of a tree that only we wrote to until now; links are not followed."""
    for _, folders, names, descriptor in os.fwalk(root, follow_symlinks=False):
        for name in [*folders, *names]:
            os.chown(name, user.uid, user.gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(root, user.uid, user.gid)


def remove(config: Config, slot: SlotConfig) -> None:
    """Remove the worktree and what an interrupted lay-out or removal left. May be repeated.

    It is out of the way after one rename. Raises OSError if files cannot be deleted.
    """
    if path(slot).exists():
        path(slot).rename(slot.folder / f"{TRASH}{os.urandom(6).hex()}")
    (slot.folder / "worktree.commit").unlink(missing_ok=True)
    if not slot.folder.exists():
        return
    for entry in slot.folder.iterdir():
        if entry.name.startswith((TRASH, "fresh-", ".fresh-")):
            _delete(entry)


def _delete(root: Path) -> None:
    """Delete a tree whose owner may have taken away the right to write to its folders."""
    if os.geteuid() != 0:
        for _, folders, _, descriptor in os.fwalk(root, follow_symlinks=False):
            for name in folders:
                if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    os.chmod(name, 0o700, dir_fd=descriptor)
    shutil.rmtree(root)
