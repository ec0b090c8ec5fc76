"""The log of a slot's occupant, and the runbook's name for it under /tmp."""

import os
import shutil
import stat
from pathlib import Path

from host.config import Config, SlotConfig
from host.files import log_files, safe_files

LINKS = Path("/tmp/oroboros-preview-backend")  # noqa: S108 — checked to be ours before use
STANDARD_PORT = 3100


def path(config: Config, slot: SlotConfig) -> Path:
    """Return where the occupant's output goes."""
    return config.var / "log" / "slots" / f"{slot.slot_id}.log"


def is_one(config: Config, found: os.stat_result) -> bool:
    """Say whether that file is the log of a slot's occupant, or of the run before it."""
    folder = path(config, config.slots[0]).parent
    return any(os.path.samestat(found, log.lstat()) for log in folder.glob("*.log*"))


def links_folder(config: Config) -> Path:
    """Return the folder of the links; a checkout beside another one has its own."""
    offset = config.web_port - STANDARD_PORT
    default = LINKS if not offset else LINKS.with_name(f"{LINKS.name}-{offset}")
    return Path(config.get("OROBOROS_RUNTIME_LOG_DIR", str(default)))


def link(config: Config, slot: SlotConfig) -> tuple[Path, str]:
    """Link the log where the runbook looks for it.

    Returns the path to read, and a sentence if somebody else holds that folder of /tmp: then the
    path is the log's own.
    """
    log = path(config, slot)
    folder = links_folder(config)
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except (FileExistsError, PermissionError):
        return log, f"{folder} is not ours to use; the log is {log}."
    if not _is_ours(folder):
        return log, f"{folder} belongs to somebody else; the log is {log}."
    name = folder / log.name
    if not name.is_symlink() or name.readlink() != log:
        safe_files.replace_link(log, name)
    return name, ""


def _is_ours(folder: Path) -> bool:
    """Say whether it is a folder, no link, that nobody but us can write to."""
    found = folder.lstat()
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not writable


def start_anew(config: Config, slot: SlotConfig) -> None:
    """Put the log of the run before aside, so that a run's log is its own."""
    log = path(config, slot)
    if log.exists():
        log.rename(log.with_name(log.name + ".1"))


def trim(config: Config, slot: SlotConfig) -> bool:
    """Move what a running backend logged into `<name>.1` once it is above 10 MiB.

    The backend holds the file open, so the file is emptied, not renamed; lines written in between
    are lost. Returns whether it was.
    """
    log = path(config, slot)
    if not log.exists() or log.stat().st_size <= log_files.LOG_BYTES:
        return False
    shutil.copyfile(log, log.with_name(log.name + ".1"))
    os.truncate(log, 0)
    return True
