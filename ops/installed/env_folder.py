"""The folder of an installation's env files, and the service's own folder of variables in it.

Root's folder has the secrets of the control plane, which its API must not write. The variables of
applications, which operators change in the admin, are in `variables/`, with links at their names in
root's folder: each path there stays as it was.
"""

import os
import shutil
import stat
from pathlib import Path

from host.config import APPLICATION_FILES
from host.env_file_access import find_uids
from host.errors import Refused
from host.files import safe_files
from host.process.users import User
from host.service_user import SERVICE

VARIABLES = "variables"
MODE = 0o755
PRIVATE_MODE = 0o700


def is_closed(folder: Path) -> bool:
    """Return whether only root can write in the folder, which others may enter."""
    return _has(folder, "root", MODE)


def close(folder: Path) -> None:
    """Create the folder, or give it back to root."""
    folder.mkdir(mode=MODE, exist_ok=True)
    shutil.chown(folder, "root", "root")
    folder.chmod(MODE)


def has_variables(folder: Path) -> bool:
    """Return whether the files of variables are in their folder, with a link to each."""
    return _has(folder / VARIABLES, SERVICE, PRIVATE_MODE) and all(
        _is_own_link(folder, name) or _is_linked(folder, name) for name in APPLICATION_FILES
    )


def find_problems(folder: Path) -> list[str]:
    """Return what prevents the move of the files of variables, each with what to do."""
    inner = folder / VARIABLES
    if os.path.lexists(inner) and (inner.is_symlink() or not inner.is_dir()):
        return [f"{inner} is no folder: move it away."]
    return [problem for name in APPLICATION_FILES if (problem := _find_problem(folder, name))]


def move_variables(folder: Path, text: str, owner: User) -> None:
    """Move the files of variables to their folder; one that is missing is written with `text`.

    Contents, owners and modes stay. May be repeated. Raises Refused `not_ready`.
    """
    if problems := find_problems(folder):
        raise Refused("not_ready", "\n".join(problems))
    inner = folder / VARIABLES
    inner.mkdir(mode=PRIVATE_MODE, exist_ok=True)
    os.chown(inner, owner.uid, owner.gid)
    inner.chmod(PRIVATE_MODE)
    for name in APPLICATION_FILES:
        path, file = folder / name, inner / name
        if _is_own_link(folder, name):
            continue
        # A second name first: the file is readable at its old name at every moment.
        if path.exists() and not path.is_symlink() and not os.path.lexists(file):
            os.link(path, file, follow_symlinks=False)
        if not file.exists():
            safe_files.write_atomic(file, text.encode(), 0o600, owner)
        safe_files.replace_link(_link_text(name), path)


def _find_problem(folder: Path, name: str) -> str:
    path, file = folder / name, folder / VARIABLES / name
    if path.is_symlink():
        if path.lstat().st_uid == folder.stat().st_uid:
            return ""
        return f"{path} is a link of another user: read where it leads, then rm {path}"
    if not path.exists():
        return ""
    if not path.is_file():
        return f"{path} is no file: move it away."
    if os.path.lexists(file) and not os.path.samestat(path.lstat(), file.lstat()):
        return (
            f"{path} and {file} are two files, and the first is in use. "
            f"To keep it: mv {path} {file}. To keep the other: rm {path}. Then repeat the command."
        )
    return ""


def _is_linked(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_symlink() and path.readlink() == _link_text(name) and path.exists()


def _is_own_link(folder: Path, name: str) -> bool:
    """Whether the operator keeps the file elsewhere, with a link of the folder's owner."""
    path = folder / name
    return (
        path.is_symlink()
        and path.readlink() not in (_link_text(name), folder / VARIABLES / name)
        and path.lstat().st_uid == folder.stat().st_uid
    )


def _link_text(name: str) -> Path:
    # Relative: a copy of the folder, such as a backup's, leads to its own files.
    return Path(VARIABLES) / name


def _has(folder: Path, owner: str, mode: int) -> bool:
    # The group has no more rights than others.
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = folder.stat()
    return found.st_uid in find_uids(owner) and stat.S_IMODE(found.st_mode) == mode
