"""Trees that change hands: to a user who builds in them, and back to us, read-only."""

import os
import shutil
import stat
from pathlib import Path

from oroboros.lib.process import User


def give(root: Path, user: User | None) -> None:
    """Make `user` the owner of a tree that only we wrote to until now; links are not followed."""
    if user is None:
        return
    for _, folders, names, descriptor in os.fwalk(root, follow_symlinks=False):
        for name in [*folders, *names]:
            os.chown(name, user.uid, user.gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(root, user.uid, user.gid)


def take(root: Path) -> None:
    """Take a tree back from whoever wrote it: ours, readable by all, writable by nobody.

    No link is followed and no setuid bit survives. Who wrote it must have ended.
    """
    for _, folders, names, descriptor in os.fwalk(root, follow_symlinks=False):
        _own(descriptor)
        os.fchmod(descriptor, 0o555)
        for name in [*folders, *names]:  # a link to a folder is among the folders
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if os.geteuid() == 0:
                os.chown(name, 0, 0, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(mode):
                os.chmod(name, 0o555 if mode & 0o100 else 0o444, dir_fd=descriptor)


def delete(root: Path) -> None:
    """Delete a tree, whatever rights its folders were left with; an absent one is no error."""
    if not root.exists():
        return
    if os.geteuid() != 0:  # deleting needs the right to write to each folder
        for _, folders, _, descriptor in os.fwalk(root, follow_symlinks=False):
            os.fchmod(descriptor, 0o700)
            for name in folders:
                if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    os.chmod(name, 0o700, dir_fd=descriptor)
    shutil.rmtree(root)


def _own(descriptor: int) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, 0, 0)
