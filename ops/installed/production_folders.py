"""Closes the folders of production's files to the other users of a host with systemd.

Those who serve, run and build production are in a group of their own. A process has the groups of
its start: the folders of an installation that is upgraded are closed once production was deployed,
and the surfaces were started, after the upgrade.
"""

import grp
import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from host.config import Config
from host.files.ownership import PRODUCTION_FOLDERS
from host.process import process_table

GROUP = "ouroboros-release"
READERS = ("ouroboros-web", "ouroboros-app", "ouroboros-job")
GROUPS = re.compile(r"^Groups:(.*)$", re.MULTILINE)
MODE = 0o710


def list_open(config: Config) -> list[Path]:
    """Return the folders that other users may enter, and that can be closed now.

    A new installation asks before it has made the group: then no reader runs.
    """
    try:
        gid = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        gid = None
    folders = [config.var / name for name in PRODUCTION_FOLDERS]
    found = [folder for folder in folders if not folder.is_dir() or folder.stat().st_gid != gid]
    return found if all(gid in groups for groups in _read_groups_of_readers()) else []


def close(config: Config, owner: str) -> None:
    """Give the folders to the group, and let no other user enter them. May be repeated."""
    owner_id, gid = pwd.getpwnam(owner).pw_uid, grp.getgrnam(GROUP).gr_gid
    for folder in (config.var / name for name in PRODUCTION_FOLDERS):
        folder.mkdir(exist_ok=True)
        os.chown(folder, owner_id, gid)
        folder.chmod(MODE)


def is_member(user: str) -> bool:
    """Return whether the user is in the group, as /etc/group has it."""
    try:
        return user in grp.getgrnam(GROUP).gr_mem
    except KeyError:
        return False


def _read_groups_of_readers() -> Iterator[set[int]]:
    """Yield the groups that each running process of the readers has."""
    for name in READERS:
        try:
            uid = pwd.getpwnam(name).pw_uid
        except KeyError:  # a new installation
            continue
        for entry in process_table.list_processes_of(uid):
            try:
                status = Path(f"/proc/{entry.pid}/status").read_text()
            except OSError:  # it ended
                continue
            found = GROUPS.search(status)
            yield {int(gid) for gid in found[1].split()} if found else set()
