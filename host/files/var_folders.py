"""What lies under `var`: one table of its folders, who writes each, and what removes from it.

A process that is killed removes nothing. So everything that it makes is in a folder of this table,
and the rule of that folder finds it again. What the table does not have is not ours to delete.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.config import Config
from host.files import ownership, tree_shield
from host.process import process_table
from host.process.process_id import ProcessId
from host.process.users import User

# Without the id of its process in its name, a folder is given up after this time.
ABANDONED_SECONDS = 24 * 3600
HOME_NAME = re.compile(r"home-(?P<pid>[0-9]+)-(?P<start>[0-9.]+)-\w+")
# Folders that a killed process leaves, below folders of `var`.
SCRATCH_PATTERNS = ("tmp/*", "repo.git/attributes-*", "repo.git/layout-*")


@dataclass(frozen=True)
class VarEntry:
    """One name under `var`: the package that writes it, and what removes what is not needed."""

    owner: str
    cleaning: str


ENTRIES: dict[str, VarEntry] = {
    "activations": VarEntry("releases.production", "the reconciler, with the release's build"),
    "app": VarEntry("releases.production", "nothing: the application's home"),
    "app-gates": VarEntry("releases.production", "the reconciler, if the run no longer ships"),
    "artifacts": VarEntry("runs.engine", "retention, 90 days after the run's end"),
    "bootstrap": VarEntry("ops", "the next installation"),
    "cache": VarEntry("host.app", "retention, two weeks after an install's last use"),
    "caddy": VarEntry("ops", "Caddy itself"),
    "current": VarEntry("releases.production", "the reconciler, if no release is live"),
    "demo": VarEntry("ops", "nothing: the demo's remote"),
    "env": VarEntry("ops", "nothing: the settings"),
    "gates": VarEntry("runs.pipelines", "the reconciler, if the run no longer ships"),
    "log": VarEntry("host.files", "rotation"),
    "postgres": VarEntry("ops.postgres", "nothing: the databases"),
    "redis": VarEntry("host.services", "the end of the lease; nothing of production's"),
    "releases": VarEntry("releases.builds", "the reconciler, above RELEASES_KEEP"),
    "repo.git": VarEntry("host.git", "retention, with the run's artifacts"),
    "restore": VarEntry("releases.production", "the reconciler, with the release's build"),
    "run": VarEntry("host.units", "the stop of the unit"),
    "secrets": VarEntry("releases.production", "nothing: production's password"),
    "settings": VarEntry("host.operator_settings", "nothing: what operators set"),
    "slots": VarEntry("slots.runtime", "the end of the lease, else the reconciler"),
    "static": VarEntry("oroboros", "the next setup"),
    "storage": VarEntry("releases.production", "nothing: production's files"),
    "templates": VarEntry("runs.pipelines", "the reconciler, with the template database"),
    "tmp": VarEntry("host.files", "the reconciler, if the process that made it has ended"),
    **dict.fromkeys(tree_shield.FILES, VarEntry("host.files", "nothing: tools of applications")),
}


def list_unknown_names(config: Config) -> list[str]:
    """Return the names under `var` that no part of Oroboros writes. They are not deleted."""
    names = {entry.name for entry in config.var.iterdir()} if config.var.is_dir() else set()
    return sorted(names - ENTRIES.keys())


@contextmanager
def private_folder(config: Config, user: User | None) -> Iterator[Path]:
    """Make a folder that only `user` can enter, for HOME and TMPDIR, and delete it at the end.

    If this process is killed, `remove_abandoned_folders` deletes it.
    """
    parent = config.var / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    pid = os.getpid()
    prefix = f"home-{pid}-{process_table.read_start_time(pid)}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    ownership.give_tree(folder, user)
    try:
        yield folder
    finally:
        ownership.delete_tree(folder)


def remove_abandoned_folders(config: Config, dry_run: bool = False) -> list[str]:
    """Delete the folders that killed processes left; returns their paths below `var`."""
    found = [path for pattern in SCRATCH_PATTERNS for path in config.var.glob(pattern)]
    folders = [path for path in sorted(found) if path.is_dir() and not path.is_symlink()]
    abandoned = [path for path in folders if _is_abandoned(path)]
    if not dry_run:
        for path in abandoned:
            ownership.delete_tree(path)
    return [str(path.relative_to(config.var)) for path in abandoned]


def _is_abandoned(path: Path) -> bool:
    match = HOME_NAME.fullmatch(path.name)
    if match is not None:
        return not ProcessId(int(match["pid"]), float(match["start"])).is_alive()
    try:
        return time.time() - path.lstat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return False
