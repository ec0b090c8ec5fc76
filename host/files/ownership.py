"""Trees that change hands: to a user who builds in them, and back to us, read-only.

As root by changing the owner. Under systemd we are not root: then a tree is shared with the group
of its user, of which we are a member, and what the user made there is taken back as a copy.
"""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from host.config import Config
from host.files import safe_walk
from host.process.runner import Elsewhere, User
from host.units import jobs

DELETE_SECONDS = 300.0
# What other users have business in, in `var`: they pass through, and nobody but us may list it.
PASSED = (".", "activations", "cache", "cache/installs", "log", "log/slots", "releases", "slots",
          "tmp")  # fmt: skip
# What only the jobs' user has business in.
JOBS = ("gates", "templates")
# What nobody else has business in, where it is there at all.
OURS = ("artifacts", "bootstrap", "caddy", "demo", "log/releases", "run", "static")


def close(config: Config) -> None:
    """Make the folders of `var` that others pass through; no name in it is theirs to read.

    May be repeated: what was made with other modes, or by another version of us, is closed.
    """
    for name in PASSED:
        (config.var / name).mkdir(parents=True, exist_ok=True)
        _restrict(config.var / name, 0o711)
    for name in JOBS:
        (config.var / name).mkdir(exist_ok=True)
        admit(config.var / name, config.job_user)
    for folder in (config.var / name for name in OURS):
        if folder.is_dir() and folder.stat().st_uid == os.geteuid():
            _restrict(folder, 0o700)


def give(root: Path, user: User | None) -> None:
    """Let `user` change a tree that only we wrote to until now; links are not followed."""
    if user is None:
        return
    for folder in safe_walk.folders(root):
        for name in [*folder.folders, *folder.names]:
            _give(name, user, folder.descriptor)
    hand(root, user)


def hand(folder: Path, user: User | None) -> None:
    """Let `user`, and nobody else but us, change what is in the folder; what is there stays."""
    if user is not None:
        _give(str(folder), user, None)
    if isinstance(user, Elsewhere):
        folder.chmod(0o770)


def admit(folder: Path, user: User | None) -> None:
    """Let `user` pass through a folder of ours, and list nothing; nobody else may even pass."""
    if user is not None:
        os.chown(folder, -1 if isinstance(user, Elsewhere) else 0, user.gid)
    _restrict(folder, 0o710)


def take(root: Path) -> None:
    """Take a tree back from whoever wrote it: ours, readable by all, writable by nobody.

    No link is followed and no setuid bit survives. Who wrote it must have ended. Raises Refused
    `build_failed` for one that is nested too deeply to be read by its paths.
    """
    if os.geteuid() != 0 and _strangers(root):
        _copy_back(root)
    for folder in safe_walk.folders(root):
        safe_walk.require_shallow(folder.way)
        _own(folder.descriptor)
        os.fchmod(folder.descriptor, 0o555)
        for name in folder.names:
            mode = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_mode
            if os.geteuid() == 0:
                os.chown(name, 0, 0, dir_fd=folder.descriptor, follow_symlinks=False)
            if stat.S_ISREG(mode):
                os.chmod(name, 0o555 if mode & 0o100 else 0o444, dir_fd=folder.descriptor)


def delete(root: Path) -> None:
    """Delete a tree, whatever its depth and its folders' rights; an absent one is no error.

    Several may delete it at once.
    """
    while root.exists():
        with suppress(FileNotFoundError):  # another one was faster with some of it
            if os.geteuid() != 0:
                _open_all(root)
            for folder in safe_walk.folders(root, deepest_first=True):
                for name in folder.names:
                    os.unlink(name, dir_fd=folder.descriptor)
                for name in folder.folders:
                    os.rmdir(name, dir_fd=folder.descriptor)
            root.rmdir()


def _open_all(root: Path) -> None:
    """Get the right to write to each folder: without it nothing in it can be deleted."""
    _make_ours(str(root), None)
    for user in _strangers(root):
        _open_up(root, user)
    for folder in safe_walk.folders(root):
        for name in folder.folders:
            _make_ours(name, folder.descriptor)


def _restrict(folder: Path, mode: int) -> None:
    if stat.S_IMODE(folder.stat().st_mode) != mode:
        folder.chmod(mode)


def _give(name: str, user: User, folder: int | None) -> None:
    if not isinstance(user, Elsewhere):
        os.chown(name, user.uid, user.gid, dir_fd=folder, follow_symlinks=False)
        return
    os.chown(name, -1, user.gid, dir_fd=folder, follow_symlinks=False)
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISLNK(mode):
        os.chmod(name, stat.S_IMODE(mode) | (mode & 0o700) >> 3, dir_fd=folder)


def _make_ours(name: str, folder: int | None) -> None:
    """Give ourselves all rights to a folder, where it is ours to do so."""
    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_uid == os.geteuid():
        os.chmod(name, 0o700, dir_fd=folder)


def _strangers(root: Path) -> list[jobs.JobUser]:
    """Return the users of ours besides us who own something in the tree."""
    found = {root.lstat().st_uid}
    for folder in safe_walk.folders(root):
        for name in [*folder.folders, *folder.names]:
            found.add(os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_uid)
    users = [jobs.owner(uid) for uid in sorted(found) if uid != os.geteuid()]
    return [user for user in users if user is not None]


def _open_up(root: Path, user: jobs.JobUser) -> None:
    """Have the user let us read, change and delete what is its own in the tree.

    chmod does so on its way down, at any depth; where it may not, it goes on.
    """
    argv = ["/bin/chmod", "-R", "ug+rwX", "--", str(root)]
    log = Path(os.devnull)
    with log.open("rb") as source, log.open("wb") as output:
        streams = (source, output)
        user.run(argv, cwd=Path("/"), streams=streams, timeout=DELETE_SECONDS, env={})


def _copy_back(root: Path) -> None:
    """Put a copy that is ours in place of a tree in which others own something."""
    for user in _strangers(root):
        _open_up(root, user)
    for folder in safe_walk.folders(root):
        safe_walk.require_shallow(folder.way)  # copytree recurses
    copy = root.with_name(f".{root.name}.{os.urandom(6).hex()}")
    old = copy.with_name(f"{copy.name}.old")
    shutil.copytree(root, copy, symlinks=True)
    root.rename(old)
    copy.rename(root)
    delete(old)


def _own(descriptor: int) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, 0, 0)
