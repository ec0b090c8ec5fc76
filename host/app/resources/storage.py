"""An application's storage: folders of its tree whose files outlive the tree.

A build is immutable, and each release and each preview has a tree of its own. So once a tree is
built, each folder that `[storage]` names is replaced by a link to a folder outside of it. Until
then, and where a tree is only tested, it is an empty folder of the tree.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from host.errors import ApplicationRefused, Refused
from host.files import ownership, safe_files
from host.files.public_folder import FOLDER_FLAGS, copy_files
from host.process.users import User

# The name of each storage, and its folder relative to the tree.
Storage = Mapping[str, str]

# Files with which git keeps an empty folder: a link may hide them.
PLACEHOLDERS = (".gitkeep", ".keep", ".gitignore")
MAX_NAMES = 5  # in a sentence


def variable_name(name: str) -> str:
    """Return the environment variable that has the path of that storage."""
    return f"OROBOROS_STORAGE_{name.upper()}"


def build_variables(storage: Storage, folder: Path) -> dict[str, str]:
    """Return the variables of an application whose storages lie in `folder`."""
    return {variable_name(name): str(folder / name) for name in storage}


def locate(root: Path, storage: Storage) -> dict[str, str]:
    """Return the variables of a tree: its own folders, or what they are links to."""
    return {variable_name(name): _locate(root / path) for name, path in storage.items()}


def _locate(path: Path) -> str:
    # Without resolving folders above it: the application uses the same name as we do.
    return os.path.normpath(path.parent / path.readlink() if path.is_symlink() else path)


def find_overlap(storage: Storage) -> tuple[str, str] | None:
    """Return the names of two storages of which one lies in the other or is the same folder."""
    for name, path in storage.items():
        for other, outer in storage.items():
            if name != other and PurePosixPath(path).is_relative_to(outer):
                return name, other
    return None


def require_untracked(storage: Storage, tracked: Iterable[str]) -> None:
    """Refuse a storage that would hide files of the commit, whose paths are `tracked`.

    Placeholders are no files in this sense. Raises ApplicationRefused `manifest_invalid`.
    """
    paths = [PurePosixPath(path) for path in tracked] if storage else []
    for name, path in storage.items():
        folder = PurePosixPath(path)
        hidden = [
            str(one)
            for one in paths
            if folder.is_relative_to(one)
            or (one.is_relative_to(folder) and one.name not in PLACEHOLDERS)
        ]
        if hidden:
            raise ApplicationRefused("manifest_invalid", _describe_hidden(name, path, hidden))


def _describe_hidden(name: str, path: str, hidden: Sequence[str]) -> str:
    files = ", ".join(hidden[:MAX_NAMES]) + (" …" if len(hidden) > MAX_NAMES else "")
    return (
        f"oroboros.toml, [storage] {name}: {path} cannot be storage, because git tracks {files}, "
        "which it would hide: name a folder of its own, or remove these files from git "
        "(git rm --cached). A .gitkeep may stay."
    )


def make_folders(root: Path, storage: Storage, user: User | None) -> None:
    """Make the folders of a tree that is not linked to its storage; existing ones stay.

    Raises ApplicationRefused `manifest_invalid` if a folder above one is a link or a file.
    """
    for path in storage.values():
        parts = PurePosixPath(path).parts
        with _translate_refusal(path), _open_folder(root, parts[:-1], user) as parent:
            # A link is one that an earlier attempt made.
            _make_folder(parent, parts[-1], user)


def reopen_folders(root: Path, storage: Storage, user: User | None) -> None:
    """Let `user` write to the folders of a tree that was taken back. Raises as `make_folders`."""
    for path in storage.values():
        parts = PurePosixPath(path).parts
        with _translate_refusal(path), safe_files.folder_beneath(root, parts[:-1]) as parent:
            ownership.reopen_tree(Path(f"/proc/self/fd/{parent}", parts[-1]), user)


def link_folders(root: Path, storage: Storage, target: Path, user: User | None) -> list[str]:
    """Replace the folders of a built tree by links to those in `target`; may be repeated.

    The processes that wrote the tree must have ended. Returns a sentence for each folder into which
    the build wrote files: they are deleted. Raises as `make_folders`.
    """
    notes = []
    for name, path in storage.items():
        parts = PurePosixPath(path).parts
        # Relative, so that the checkout can be moved.
        leads_to = os.path.relpath(target / name, (root / path).parent)
        with _translate_refusal(path), _open_folder(root, parts[:-1], user) as parent:
            if _is_link(parent, parts[-1], leads_to):
                continue  # made by an earlier attempt; the tree may be read-only by now
            if _remove_folder(parent, parts[-1]):
                notes.append(
                    f"{path} is storage ({name}): the files that the build wrote into it are "
                    "deleted."
                )
            safe_files.replace_link(leads_to, Path(parts[-1]), parent)
    return notes


def make_targets(folder: Path, names: Iterable[str], user: User | None) -> None:
    """Make the folders that the links of `link_folders` lead to; existing ones keep their files.

    Only `user` may enter them. `folder` and all above it must be ours.
    """
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    for name in names:
        (folder / name).mkdir(mode=0o700, exist_ok=True)
        # Also an existing one: the process that made it may have been killed before this.
        ownership.give_folder(folder / name, user)


def save_copy(root: Path, storage: Storage, destination: Path) -> None:
    """Copy the files in the folders of a tree to `destination`, which is replaced.

    Placeholders, links and special files are left out. Only we may enter the copy.
    """
    ownership.delete_tree(destination)
    destination.mkdir(mode=0o700)
    for name, path in storage.items():
        with (
            _translate_refusal(path),
            safe_files.folder_beneath(root, PurePosixPath(path).parts) as folder,
        ):
            copy_files(folder, destination / name, _is_placeholder)


def fill_targets(folder: Path, storage: Storage, saved: Path, user: User | None) -> None:
    """Replace the storage in `folder` by copies of the `saved` one, empty where it has none."""
    ownership.delete_tree(folder)
    if storage:
        folder.mkdir(mode=0o711)
    for name in storage:
        if (saved / name).is_dir():
            with safe_files.folder_beneath(saved, (name,)) as source:
                copy_files(source, folder / name)
            (folder / name).chmod(0o700)
            ownership.give_tree(folder / name, user)
        else:
            make_targets(folder, (name,), user)


def _is_placeholder(parts: Sequence[str]) -> bool:
    return len(parts) == 1 and parts[0] in PLACEHOLDERS


@contextmanager
def _translate_refusal(path: str) -> Iterator[None]:
    """Turn a link or a file in the way into ApplicationRefused."""
    try:
        yield
    except (Refused, NotADirectoryError, FileNotFoundError) as error:
        raise ApplicationRefused(
            "manifest_invalid",
            f"oroboros.toml, [storage]: {path} cannot be storage: it, or a folder above it, is a "
            "link or a file.",
        ) from error


@contextmanager
def _open_folder(root: Path, parts: Sequence[str], user: User | None) -> Iterator[int]:
    """Open the folder below `root`, made if it is missing, without following links."""
    for number, part in enumerate(parts):
        with safe_files.folder_beneath(root, parts[:number]) as parent:
            _make_folder(parent, part, user)
    with safe_files.folder_beneath(root, parts) as folder:
        yield folder


def _make_folder(parent: int, name: str, user: User | None) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return
    folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    try:
        ownership.give_open_folder(folder, user)
    finally:
        os.close(folder)


def _is_link(parent: int, name: str, target: str) -> bool:
    try:
        return os.readlink(name, dir_fd=parent) == target
    except OSError:
        return False


def _remove_folder(parent: int, name: str) -> bool:
    """Remove the tree's own folder, if there is one; returns whether files were in it."""
    try:
        folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ENOTDIR:  # also the error of O_NOFOLLOW for a link
            raise
        os.unlink(name, dir_fd=parent)
        return False
    try:
        with os.scandir(folder) as entries:
            has_files = any(entry.name not in PLACEHOLDERS for entry in entries)
    finally:
        os.close(folder)
    ownership.delete_tree(Path(f"/proc/self/fd/{parent}", name))
    return has_files
