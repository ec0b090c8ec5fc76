"""Makes a real folder of a tree from a shared install: folders of its own, hard links to its files.

The tree's user owns the folders and may add and replace files; the shared files stay read-only,
and another's. Files that tools write are copies: those in folders such as `.prisma`, `.cache` and
`.vite`, and the package manager's own records. See docs/decisions/0013 and 0018.
"""

import os
import shutil
import stat
from pathlib import Path

from host.files import ownership
from host.process.users import User

# Folders with a dot in which packages lie: no tool writes there.
PACKAGE_FOLDERS = (".bin", ".pnpm", ".store")
# The file in a copy that says which copy it is: a branch may commit a folder of that name.
MARK = ".oroboros-copy"


def copy_folder(source: Path, name: str, parent: int, user: User | None) -> bytes:
    """Make the folder `name` of the open folder `parent` from `source`; it must not exist.

    `parent` may belong to `user`, whose processes may change it meanwhile: until it is complete,
    only we may enter the new folder. Returns what its file MARK has. Raises OSError.
    """
    mark = os.urandom(16).hex().encode()
    fresh = f".{name}.{os.urandom(6).hex()}"
    os.mkdir(fresh, 0o700, dir_fd=parent)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(fresh, flags, dir_fd=parent)
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
            raise PermissionError(f"{fresh} was replaced")
        # By the descriptor: a rename of the folder does not lead out of it.
        root = Path(f"/proc/self/fd/{folder}")
        _fill_folder(source, root, user)
        (root / MARK).write_bytes(mark)
        os.fchmod(folder, 0o755)  # nosec B103
        ownership.give_open_folder(folder, user)
        os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        os.close(folder)
    return mark


def remove_entries(name: str, parent: int) -> None:
    """Remove what was committed under that name, and what interrupted copies left."""
    with os.scandir(parent) as entries:
        found = [one for one in entries if one.name == name or one.name.startswith(f".{name}.")]
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            ownership.delete_tree(Path(f"/proc/self/fd/{parent}", entry.name))
        else:
            os.unlink(entry.name, dir_fd=parent)


def _fill_folder(source: Path, root: Path, user: User | None) -> None:
    for path, folders, names in os.walk(source):
        relative = os.path.relpath(path, source)
        target = os.path.normpath(root / relative)
        is_copied = _is_writable(relative)
        for name in [*folders, *names]:
            entry, fresh = os.path.join(path, name), os.path.join(target, name)  # noqa: PTH118 — fast
            if os.path.islink(entry):  # noqa: PTH114
                Path(fresh).symlink_to(os.readlink(entry))  # noqa: PTH115
            elif name in folders:
                Path(fresh).mkdir(mode=0o755)
                ownership.give_folder(Path(fresh), user)
            elif is_copied or _is_record(relative, name) or not _link_file(entry, fresh):
                _copy_file(entry, fresh, user)


def _is_writable(relative: str) -> bool:
    """Return whether tools write into that folder of the packages."""
    parts = Path(relative).parts
    return any(part.startswith(".") and part not in PACKAGE_FOLDERS for part in parts)


def _is_record(relative: str, name: str) -> bool:
    """Return whether the package manager keeps the file for itself, and writes to it: `npm install`
    in a build changes .package-lock.json.
    """
    return name.startswith(".") or relative in (".", ".pnpm")


def _link_file(entry: str, fresh: str) -> bool:
    """Return whether a hard link was made: not across file systems, and not without end."""
    try:
        os.link(entry, fresh, follow_symlinks=False)
    except OSError:
        return False
    return True


def _copy_file(entry: str, fresh: str, user: User | None) -> None:
    shutil.copyfile(entry, fresh)
    is_program = Path(entry).stat().st_mode & 0o100
    Path(fresh).chmod(0o755 if is_program else 0o644)
    ownership.give_file(Path(fresh), user)
