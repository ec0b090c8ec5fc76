"""The log of a slot's backend, and the link to it under /tmp that the runbook names."""

import os
import stat
from pathlib import Path

from host.config import Config, SlotConfig
from host.files import log_files, safe_files

LINKS_FOLDER = Path("/tmp/oroboros-preview-backend")  # noqa: S108 — its owner is checked
STANDARD_PORT = 3100


def path(config: Config, slot: SlotConfig, process: str = "") -> Path:
    """Return the path of the backend's log, or of that of a background process."""
    name = f"{slot.slot_id}.{process}" if process else slot.slot_id
    return config.var / "log" / "slots" / f"{name}.log"


def is_slot_log(config: Config, found: os.stat_result) -> bool:
    """Return whether that file is the log of a slot's backend, or of the run before it."""
    folder = path(config, config.slots[0]).parent
    return any(os.path.samestat(found, log.lstat()) for log in folder.glob("*.log*"))


def links_folder(config: Config) -> Path:
    """Return the folder of the links; a checkout with a port offset has its own."""
    offset = config.web_port - STANDARD_PORT
    default = (
        LINKS_FOLDER if not offset else LINKS_FOLDER.with_name(f"{LINKS_FOLDER.name}-{offset}")
    )
    return Path(config.get("OROBOROS_RUNTIME_LOG_DIR", str(default)))


def ensure_link(config: Config, slot: SlotConfig) -> tuple[Path, str]:
    """Create the link to the log, unless it exists.

    Returns the path to read and a warning. If another user owns the folder in /tmp, the path is the
    log's own and the warning says so; otherwise the warning is "".
    """
    log = path(config, slot)
    folder = links_folder(config)
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except (FileExistsError, PermissionError):
        return log, f"{folder} cannot be used; the log is {log}."
    # Every user may write to /tmp: another one may have created the folder, or a link, first.
    if not _is_ours(folder):
        return log, f"{folder} belongs to another user; the log is {log}."
    name = folder / log.name
    if not name.is_symlink() or name.readlink() != log:
        safe_files.replace_link(log, name)
    return name, ""


def _is_ours(folder: Path) -> bool:
    """Return whether it is a folder, not a link, that only this user can write to."""
    found = folder.lstat()
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not writable


def archive_previous(config: Config, slot: SlotConfig) -> None:
    """Rename the logs of the previous run to `<name>.1`, so that a log has the lines of one run.

    Those of the run before it are deleted, if they are of processes: each run has others.
    """
    folder = path(config, slot).parent
    for old in folder.glob(path(config, slot, "*").name + ".1"):
        old.unlink()
    for log in (path(config, slot), *folder.glob(path(config, slot, "*").name)):
        if log.exists():
            log_files.archive(log)


def trim(config: Config, slot: SlotConfig) -> bool:
    """Trim the log of a running backend; returns whether it was too large."""
    return log_files.trim(path(config, slot))


def list_logs(config: Config, slot: SlotConfig) -> dict[str, Path]:
    """Return the logs of the slot's processes by name: web, worker.2, and previous:web.

    A previous log is of the run before, or what did not fit into the one of this run any more.
    """
    folder, web = path(config, slot).parent, path(config, slot)
    logs: dict[str, Path] = {}
    for one in (web, *sorted(folder.glob(path(config, slot, "*").name))):
        name = one.name.removeprefix(f"{slot.slot_id}.").removesuffix(".log")
        name = "web" if one == web else name
        logs |= {name: one, f"previous:{name}": one.with_name(f"{one.name}.1")}
    for old in sorted(folder.glob(path(config, slot, "*").name + ".1")):
        name = old.name.removeprefix(f"{slot.slot_id}.").removesuffix(".log.1")
        logs.setdefault(f"previous:{name}", old)
    return {name: one for name, one in logs.items() if one.is_file() and not one.is_symlink()}
