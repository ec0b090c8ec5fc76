"""Gives trees to the user who builds in them, takes them back read-only, and deletes them.

Root changes the owner. Under systemd we are not root: a tree is then shared with the group of its
user, of which we are a member, and files that the user created are taken back as copies.
"""

import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from host.config import Config
from host.files import safe_files, safe_walk
from host.files.tree_shield import write_shield
from host.process.users import DelegatedUser, User
from host.units import jobs

DELETE_SECONDS = 300.0
# Folders of `var` above other users' files: all users may enter them, only we may list them.
TRAVERSABLE = (
    ".",
    "app-gates",
    "cache",
    "cache/installs",
    "log",
    "log/slots",
    "redis",
    "slots",
    "storage",
    "tmp",
)
# Folders above production's files: the same, unless the installation gave them to a group of those
# who serve, run and build production: then no other user may enter them.
PRODUCTION_FOLDERS = ("activations", "releases")
# Folders that only the jobs' user may enter.
JOB_FOLDERS = ("gates", "templates")
# Folders that only we may enter; not every installation has all of them.
PRIVATE = ("artifacts", "bootstrap", "caddy", "demo", "log/releases", "run", "static")


def restrict_var(config: Config) -> None:
    """Create the shared folders of `var`, with modes that keep other users from listing them.

    May be repeated: folders with other modes, as an older version created them, are restricted.
    """
    for name in (*TRAVERSABLE, *PRODUCTION_FOLDERS):
        (config.var / name).mkdir(parents=True, exist_ok=True)
        is_closed = name in PRODUCTION_FOLDERS and _has_group_of_others(config.var / name)
        # x without r: enter, not list
        _restrict(config.var / name, 0o710 if is_closed else 0o711)
    for name in JOB_FOLDERS:
        (config.var / name).mkdir(exist_ok=True)
        allow_traversal(config.var / name, config.job_user)
    for folder in (config.var / name for name in PRIVATE):
        if folder.is_dir() and folder.stat().st_uid == os.geteuid():
            _restrict(folder, 0o700)
    write_shield(config.var)


def give_tree(root: Path, user: User | None) -> None:
    """Let `user` change a tree that only we have written to so far; links are not followed."""
    if user is None:
        return
    for folder in safe_walk.walk_folders(root):
        for name in [*folder.folders, *folder.names]:
            _give_entry(name, user, folder.descriptor)
    give_folder(root, user)


def give_folder(folder: Path, user: User | None) -> None:
    """Let only `user` and us change the folder's entries; existing entries keep their owner."""
    if user is not None:
        _give_entry(str(folder), user, None)
    if isinstance(user, DelegatedUser):
        folder.chmod(0o770)  # it stays ours, and the user writes through the group


def give_open_folder(folder: int, user: User | None) -> None:
    """Do the same for an open folder: its name below /proc is a link, whose owner would change."""
    if user is not None:
        _give_entry(".", user, folder)
    if isinstance(user, DelegatedUser):
        os.fchmod(folder, 0o770)  # nosec B103


def give_file(file: Path, user: User | None) -> None:
    """Let `user` change a file of ours."""
    if user is not None:
        _give_entry(str(file), user, None)


def allow_traversal(folder: Path, user: User | None) -> None:
    """Let `user` enter a folder of ours but not list it; other users may not even enter it."""
    if user is not None:
        os.chown(folder, -1 if isinstance(user, DelegatedUser) else 0, user.gid)
    _restrict(folder, 0o710)


def take_back(root: Path) -> None:
    """Make a tree ours: readable by all users, writable by none.

    Links are not followed, setuid bits are cleared. The processes that wrote it must have ended.
    May be repeated. Raises Refused `build_failed` if it is nested too deeply to be read by its
    paths.
    """
    if not root.exists():
        _finish_copy_back(root)
    if os.geteuid() != 0 and _find_other_owners(root):
        _copy_back(root)
    for folder in safe_walk.walk_folders(root):
        safe_walk.require_shallow(folder.parts)
        _chown_to_root(folder.descriptor)
        os.fchmod(folder.descriptor, 0o555)  # nosec B103
        for name in folder.names:
            mode = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_mode
            if os.geteuid() == 0:
                os.chown(name, 0, 0, dir_fd=folder.descriptor, follow_symlinks=False)
            # A chown of root's may keep the setuid bit, so the mode is set after it.
            if stat.S_ISREG(mode):
                os.chmod(name, 0o555 if mode & 0o100 else 0o444, dir_fd=folder.descriptor)


def reopen_tree(root: Path, user: User | None) -> None:
    """Undo `take_back`: let `user` change the tree again, but for its hard links.

    These are the shared install's files.
    """
    for folder in safe_walk.walk_folders(root):
        os.fchmod(folder.descriptor, 0o755)  # nosec B103
        give_open_folder(folder.descriptor, user)
        for name in folder.names:
            found = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.chmod(name, stat.S_IMODE(found.st_mode) | 0o200, dir_fd=folder.descriptor)
                if user is not None:
                    _give_entry(name, user, folder.descriptor)


def allow_new_files(root: Path, user: User | None) -> None:
    """Let `user` create files in a tree of ours; existing files stay as they are.

    Not in `node_modules`, whose files are hard links to the shared install's.
    """
    for folder in safe_walk.walk_folders(root):
        if "node_modules" not in folder.parts:
            os.fchmod(folder.descriptor, 0o755)  # nosec B103
            give_open_folder(folder.descriptor, user)


def delete_tree(root: Path) -> None:
    """Delete a tree of any depth and with any modes; an absent one is not an error.

    Several processes may delete it at once.
    """
    # Again until it is gone: another process may delete entries of the folder being walked.
    while root.exists():
        with suppress(FileNotFoundError):  # another process deleted an entry first
            if os.geteuid() != 0:
                _make_writable(root)
            for folder in safe_walk.walk_folders(root, deepest_first=True):
                for name in folder.names:
                    os.unlink(name, dir_fd=folder.descriptor)
                for name in folder.folders:
                    os.rmdir(name, dir_fd=folder.descriptor)
            root.rmdir()


def _make_writable(root: Path) -> None:
    """Get write permission for each folder: deleting an entry needs it."""
    # Its group is that of the user who shares entries with us below, and who has to enter it.
    _allow_owner(str(root), None, group=0o070)
    for user in _find_other_owners(root):
        _share_with_us(root, user)
    for folder in safe_walk.walk_folders(root):
        for name in folder.folders:
            _allow_owner(name, folder.descriptor)


def _has_group_of_others(folder: Path) -> bool:
    """Return whether the folder's group is another one than that of its owner's own files."""
    found, parent = folder.stat(), folder.parent.stat()
    return found.st_uid == parent.st_uid and found.st_gid != parent.st_gid


def _restrict(folder: Path, mode: int) -> None:
    if stat.S_IMODE(folder.stat().st_mode) != mode:
        folder.chmod(mode)


def _give_entry(name: str, user: User, folder: int | None) -> None:
    if not isinstance(user, DelegatedUser):
        os.chown(name, user.uid, user.gid, dir_fd=folder, follow_symlinks=False)
        return
    os.chown(name, -1, user.gid, dir_fd=folder, follow_symlinks=False)
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISLNK(mode):
        # The group gets the permissions that the owner has.
        os.chmod(name, stat.S_IMODE(mode) | (mode & 0o700) >> 3, dir_fd=folder)


def _allow_owner(name: str, folder: int | None, group: int = 0) -> None:
    """Set all permissions of the owner, and these of the group, on a folder that is ours."""
    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_uid == os.geteuid():
        os.chmod(name, 0o700 | group, dir_fd=folder)


def _find_other_owners(root: Path) -> list[jobs.JobUser]:
    """Return our users other than this one who own entries of the tree."""
    found = {root.lstat().st_uid}
    for folder in safe_walk.walk_folders(root):
        for name in [*folder.folders, *folder.names]:
            found.add(os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_uid)
    users = [jobs.find_user_by_uid(uid) for uid in sorted(found) if uid != os.geteuid()]
    return [user for user in users if user is not None]


def _share_with_us(root: Path, user: jobs.JobUser) -> None:
    """As `user`, give our common group all permissions on the user's entries of the tree.

    chmod walks trees of any depth, and continues after entries that it may not change.
    """
    argv = ["/bin/chmod", "-R", "ug+rwX", "--", str(root)]
    log = Path(os.devnull)
    with log.open("rb") as source, log.open("wb") as output:
        streams = (source, output)
        user.run(argv, cwd=Path("/"), streams=streams, timeout=DELETE_SECONDS, env={})


def _copy_back(root: Path) -> None:
    """Replace a tree that has other owners by a copy that is ours."""
    for user in _find_other_owners(root):
        _share_with_us(root, user)
    for folder in safe_walk.walk_folders(root):
        safe_walk.require_shallow(folder.parts)  # copytree recurses
    copy = root.with_name(f".{root.name}.{os.urandom(6).hex()}")
    old = copy.with_name(f"{copy.name}.old")
    shutil.copytree(root, copy, symlinks=True, copy_function=_TreeCopy({}).link_or_copy)
    root.rename(old)
    copy.rename(root)
    delete_tree(old)


@dataclass(frozen=True)
class _TreeCopy:
    """One copy of a tree; `copies` has the copy of each file that has several names."""

    copies: dict[tuple[int, int], Path]

    def link_or_copy(self, source: str, target: str) -> None:
        """Link a file that is ours, such as the shared install's; another's becomes a copy of ours.

        A copy takes no more space than the file. Sockets and FIFOs, which serve a process only,
        are left out.
        """
        found = Path(source).lstat()
        key = (found.st_dev, found.st_ino)
        existing = Path(source) if found.st_uid == os.geteuid() else self.copies.get(key)
        if not stat.S_ISREG(found.st_mode):
            return
        if existing is None or not safe_files.link_file(existing, Path(target)):
            self._copy(source, target)
            self.copies[key] = Path(target)

    def _copy(self, source: str, target: str) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(source, flags), "rb") as reader, Path(target).open("xb") as writer:
            safe_files.copy_data(reader.fileno(), writer.fileno())
        shutil.copystat(source, target)


def _finish_copy_back(root: Path) -> None:
    """Rename the copy of a `_copy_back` that was interrupted between its two renames."""
    copies = root.parent.glob(f".{root.name}.*")
    complete = [path for path in copies if path.with_name(f"{path.name}.old").exists()]
    if complete:
        complete[0].rename(root)


def _chown_to_root(descriptor: int) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, 0, 0)
