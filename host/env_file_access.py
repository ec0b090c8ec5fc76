"""Who can read the env files: others must not, and the control plane must."""

import grp
import os
import pwd
import stat
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from host.errors import Refused


def find_uids(name: str) -> set[int]:
    """Return the uid of the user of that name; none if there is no such user."""
    try:
        return {pwd.getpwnam(name).pw_uid}
    except KeyError:
        return set()


def find_user_name(uid: int) -> str:
    """Return the user's name, or the number of one that has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def read_mode_and_owner(path: Path) -> tuple[int | None, str]:
    """Return the file's mode and its owner's name; None and "" if this process does not find it."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None, ""
    return status.st_mode, find_user_name(status.st_uid)


def refuse_unreadable(path: Path, owners: AbstractSet[int], *, always: bool = False) -> None:
    """Raise Refused `env_file_unreadable` if this process runs as one of `owners`.

    Without its file other settings would hold, such as another push mode. `always`: as any user.
    """
    if not (always or os.geteuid() in owners):
        return
    me = find_user_name(os.geteuid())
    # Not root, who owns the folder of an installation and runs none of its services.
    wanted = find_user_name(max(owners))
    raise Refused(
        "env_file_unreadable",
        f"{path} cannot be read by {me}, so nothing starts without its settings: "
        f"{describe_repair(path, wanted)}; then ./scripts/runtime-up.sh",
    )


def describe_repair(path: Path, owner: str) -> str:
    """Return what root does to give the file to `owner` alone.

    The commands name the file that a link of the folder's owner leads to. Another link may be of a
    user who wants root to change a file of the host: it is not to be followed.
    """
    file = path
    with suppress(OSError):  # a user of the host who may not look
        if path.is_symlink() and path.lstat().st_uid == path.parent.stat().st_uid:
            file = path.parent / path.readlink()
        if file.is_symlink():
            return f"{file} is a link to {file.readlink()}: read where it leads, then rm {file}"
    return f"chown -h {owner}: {file}; chmod 600 {file}"


def refuse_exposed(path: Path, find_owners: Callable[[], AbstractSet[int]]) -> None:
    """Raise Refused `env_file_exposed` if users besides the owners, root and us can open the file.

    A file that does not exist is not exposed.
    """
    try:
        status = path.stat()
        owners = {0, os.geteuid(), *find_owners()}
    except (FileNotFoundError, NotADirectoryError):
        return
    if problem := describe_exposure(status.st_mode, status.st_uid, owners):
        repair = describe_repair(path, find_user_name(max(owners)))
        detail = f"{path} holds secrets and {problem}: {repair}"
        raise Refused("env_file_exposed", detail)


def refuse_writable_folder(folder: Path) -> None:
    """Raise Refused `env_file_exposed` if other users can replace the files of the folder."""
    try:
        status = folder.stat()
    except OSError:  # it does not exist, or we cannot read its files either
        return
    mode = stat.S_IMODE(status.st_mode)
    writers = stat.S_IWOTH
    if not _has_private_group(status):
        writers |= stat.S_IWGRP
    if stat.S_ISDIR(status.st_mode) and mode & writers and not mode & stat.S_ISVTX:
        detail = (
            f"Other users can replace the files in {folder} (mode {mode:o}): chmod go-w {folder}"
        )
        raise Refused("env_file_exposed", detail)


def _has_private_group(status: os.stat_result) -> bool:
    """Whether the group is the owner's alone: a clone under umask 002 is writable by it.

    Source: `usergroups` of pam_umask(8), which goes by the names.
    """
    try:
        group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def describe_exposure(mode: int, uid: int, owners: AbstractSet[int]) -> str:
    """Return how a file of secrets is open to others, to end a sentence; "" if it is not."""
    if uid not in owners:
        return f"belongs to the user {uid}"
    exposed = stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO)
    return f"other users can open it (mode {stat.S_IMODE(mode):o})" if exposed else ""
