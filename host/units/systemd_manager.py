"""Units kept by systemd: our installed templates, told by a file what to execute.

The file `var/run/<unit>.json` is only ours to read; systemd hands it to the unit as the
credential `unit`, and `host.units.systemd_exec` in the unit becomes what it says. A unit that
always runs the same (a surface, the API) has no use for it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from host.errors import Refused
from host.files import log_files, safe_files
from host.process.runner import Captured
from host.units import jobs
from host.units.base import (
    Kept,
    Listening,
    Status,
    Unit,
    last_words,
    locked,
    refuse_another,
    refuse_taken_port,
    settled,
    who_listens,
)

RUNNING = {"active", "activating", "reloading", "deactivating"}
EXITED = "1"  # CLD_EXITED: the status is an exit code, not a signal
PROPERTIES = (
    "LoadState",
    "ActiveState",
    "MainPID",
    "ExecMainStartTimestampMonotonic",
    "ExecMainCode",
    "ExecMainStatus",
    "ControlGroup",
)


@dataclass(frozen=True)
class SystemdManager(Kept):
    """Units as services of systemd, which a polkit rule lets us start and stop."""

    def start(self, unit: Unit) -> Status:
        """Start the unit, unless it runs already (`already`).

        Raises Refused as the local manager does, and `unit_not_installed`, `unit_refused` with
        systemd's own words.
        """
        with locked(self.folder, unit.name):
            status = self.status(unit.name, unit.port)
            if status.active:
                refuse_another(unit, self._told(unit.name).get("digest", ""))
                return replace(status, already=True)
            refuse_taken_port(unit)
            self._tell(unit)
            systemctl("reset-failed", unit.name)  # that it failed before must not count
            started = systemctl("start", unit.name)
            if started.exit_code != 0 and self.status(unit.name).started == status.started:
                raise Refused("unit_refused", started.stderr.decode(errors="replace").strip())
            return settled(unit, lambda: self.status(unit.name, unit.port))

    def stop(self, name: str, grace: float = 10) -> bool:
        """Stop the unit; how long it may take to end is its TimeoutStopSec, not `grace`."""
        with locked(self.folder, name):
            stopped = systemctl("stop", name)
            gone = stopped.exit_code == 0 and not self.status(name).active
            if gone:
                self._file(name).unlink(missing_ok=True)
            return gone

    def status(self, name: str, port: int | None = None) -> Status:
        """Ask systemd about the unit, and the kernel about its port."""
        shown = parse(systemctl("show", name, "--property", ",".join(PROPERTIES)).stdout.decode())
        if shown.get("LoadState") != "loaded":
            raise Refused("unit_not_installed", f"systemd does not know {name}.service.")
        told = self._told(name)
        cgroup = cgroup_inode(shown["ControlGroup"])
        listening, holder = who_listens(
            told.get("port", port), lambda one: one.cgroup is not None and one.cgroup == cgroup
        )
        return as_status(shown, told, listening=listening, holder=holder)

    def _tell(self, unit: Unit) -> None:
        log_files.rotate(unit.log)
        with log_files.open_append(unit.log) as log:  # made by us, its writer only opens it
            log_start = log.tell()
            if unit.user is not None:
                os.fchown(log.fileno(), -1, unit.user.gid)
                os.fchmod(log.fileno(), 0o660)
        told = {
            "argv": unit.argv,
            "cwd": str(unit.cwd),
            "env": dict(unit.env),
            "port": unit.port,
            "digest": unit.digest,
            "log": str(unit.log),
            "log_start": log_start,
        }
        safe_files.write_atomic(self._file(unit.name), json.dumps(told).encode(), 0o600)

    def _told(self, name: str) -> dict[str, Any]:
        try:
            told: dict[str, Any] = json.loads(self._file(name).read_text())
        except FileNotFoundError:
            return {}
        return told


def systemctl(verb: str, name: str, *options: str) -> Captured:
    """Ask systemd about, or for, one service."""
    return jobs.systemctl(verb, *options, "--", f"{name}.service")


def parse(shown: str) -> dict[str, str]:
    """Parse what `systemctl show` prints: one property a line."""
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def as_status(
    shown: Mapping[str, str], told: Mapping[str, Any], *, listening: Listening, holder: str
) -> Status:
    """Put systemd's properties of a unit into our words."""
    pid = int(shown["MainPID"])
    active = pid != 0 and shown["ActiveState"] in RUNNING
    begun = int(shown["ExecMainStartTimestampMonotonic"])
    code = None
    if begun and not active:
        number = int(shown["ExecMainStatus"])
        code = number if shown["ExecMainCode"] == EXITED else -number
    ended = begun and not active and "log" in told
    return Status(
        active,
        pid=pid or None,
        started=begun / 1e6 if begun else None,
        exit_code=code,
        listening=listening,
        holder=holder,
        last_words=last_words(Path(told["log"]), told["log_start"], code) if ended else "",
    )


def cgroup_inode(path: str) -> int | None:
    """Return the inode of a unit's cgroup, by which the kernel names it; None if it has none."""
    root = next((line.split()[1] for line in _mounts() if line.split()[2] == "cgroup2"), None)
    try:
        return Path(root + path).stat().st_ino if root and path else None
    except FileNotFoundError:
        return None


def _mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()
