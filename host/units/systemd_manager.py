"""Units as systemd services: our installed template units, and a file that says what they execute.

The file `var/run/<unit>.json` is readable by us only; systemd hands it to the unit as the
credential `unit`, and `host.units.systemd_exec` in the unit executes its command. A unit whose
command never changes (a surface, the API) does not use its file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from host.deadline import Deadline, Probing
from host.errors import Refused
from host.files import log_files, safe_files
from host.process import log_writer, socket_owner
from host.process.outcome import CapturedOutput
from host.process.socket_owner import Socket
from host.process.users import get_gid
from host.units import jobs
from host.units.listeners import Listening, describe_background, find_listener
from host.units.unit import (
    Unit,
    UnitFiles,
    UnitStatus,
    describe_end,
    require_free_port,
    require_same_digest,
    unit_lock,
    wait_until_settled,
)

STOP_FOLDER = jobs.FOLDER.parent / "stop-seconds"
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
    "NRestarts",
)


@dataclass(frozen=True)
class SystemdManager(UnitFiles):
    """Manages units as systemd services, which a polkit rule lets us start and stop."""

    def start(self, unit: Unit) -> UnitStatus:
        """Start the unit unless it runs (`was_running`).

        Raises as the local manager does, and Refused `unit_not_installed`, `unit_refused` with
        systemd's error message.
        """
        with unit_lock(self.folder, unit.name):
            status = self.status(unit.name, unit.port)
            if status.is_active:
                require_same_digest(unit, self._read(unit.name).get("digest", ""))
                return replace(status, was_running=True)
            if unit.keeps_end:
                self.keep_end(unit, status)
            require_free_port(unit)
            self._write(unit)
            # Earlier failures must not count against the unit's StartLimitBurst.
            run_systemctl("reset-failed", unit.name)
            started = run_systemctl("start", unit.name, *jobs.START_OPTIONS)
            # A start may fail because the command ended: then it has a new start time.
            if started.exit_code != 0 and self.status(unit.name).start_time == status.start_time:
                raise Refused("unit_refused", started.stderr.decode(errors="replace").strip())
            return wait_until_settled(unit, lambda: self.status(unit.name, unit.port))

    def stop(self, name: str, grace: float | None = None) -> bool:
        """Stop the unit; its file (a background process) limits the time, not `grace`.

        For the other units it is TimeoutStopSec.
        """
        with unit_lock(self.folder, name):
            stopped = run_systemctl("stop", name)
            has_ended = stopped.exit_code == 0 and not self.status(name).is_active
            # Otherwise the file stays: it names a unit that may still run.
            if has_ended:
                self.find_file(name).unlink(missing_ok=True)
                self.find_kept_end(name).unlink(missing_ok=True)
                _find_stop_file(name).unlink(missing_ok=True)
            return has_ended

    def status(self, name: str, port: int | None = None) -> UnitStatus:
        """Read the unit's status from systemd, and the listeners of its port from the kernel."""
        properties = _read_properties(name)
        if properties.get("LoadState") != "loaded":
            raise Refused("unit_not_installed", f"systemd does not know {name}.service.")
        spec = self._read(name)
        cgroup = find_cgroup_inode(properties["ControlGroup"])
        listening, holder = find_listener(
            spec.get("port", port),
            lambda socket: socket.cgroup is not None and socket.cgroup == cgroup,
        )
        return to_unit_status(properties, spec, listening=listening, holder=holder)

    def find_ended(self, names: Iterable[str]) -> list[str]:
        """Return which of the units do not run, or were started again; one call."""
        names = list(names)
        services = [f"{name}.service" for name in names]
        if not services:
            return []
        output = jobs.run_systemctl("show", "--property", "Id,MainPID,NRestarts", "--", *services)
        found = [parse_properties(block) for block in output.stdout.decode().split("\n\n")]
        ended = [one for one in found if one.get("MainPID") == "0" or one.get("NRestarts") != "0"]
        kept = [name for name in names if self.find_kept_end(name).exists()]
        own = [one["Id"].removesuffix(".service") for one in ended if "Id" in one]
        return [*own, *(name for name in kept if name not in own)]

    def list_listeners(self, name: str) -> list[Socket]:
        """Return the sockets on which the unit's processes listen, on any port."""
        output = run_systemctl("show", name, "--property", "ControlGroup").stdout
        cgroup = find_cgroup_inode(parse_properties(output.decode()).get("ControlGroup", ""))
        sockets = socket_owner.list_listeners() if cgroup is not None else []
        return [one for one in sockets if one.cgroup == cgroup]

    def list_unix_listeners(self, name: str) -> list[str]:
        """Return the addresses of the Unix sockets on which the unit's main process listens.

        None if it belongs to another user: we may not read what it has open.
        """
        output = run_systemctl("show", name, "--property", "MainPID").stdout
        pid = int(parse_properties(output.decode()).get("MainPID", "0"))
        return socket_owner.list_unix_listeners(socket_owner.list_inodes([pid] if pid else []))

    def _write(self, unit: Unit) -> None:
        log_files.rotate(unit.log)
        # Created by us; the program in the unit opens it as the unit's user, after a boot too.
        with log_files.open_append(unit.log, get_gid(unit.user)) as log:
            log_start = log.tell()
        spec = {
            "argv": unit.argv,
            "cwd": str(unit.cwd),
            "env": dict(unit.env),
            "port": unit.port,
            "digest": unit.digest,
            "log": str(unit.log),
            "log_start": log_start,
        }
        if unit.has_log_writer:
            spec["log_writer"] = log_writer.ARGV
        _write_stop_file(unit)
        safe_files.write_atomic(self.find_file(unit.name), json.dumps(spec).encode(), 0o600)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            spec: dict[str, Any] = json.loads(self.find_file(name).read_text())
        except FileNotFoundError:
            return {}
        return spec


def _find_stop_file(name: str) -> Path:
    """Return the file with the unit's `stop_timeout`, which host.units.systemd_stop reads."""
    return STOP_FOLDER / f"{name}.service"


def _write_stop_file(unit: Unit) -> None:
    # Not in var/run: the program in `ExecStop=` runs as the unit's user, who may not enter that.
    if not STOP_FOLDER.exists():  # the installation makes it, and so does systemd at boot
        STOP_FOLDER.mkdir(exist_ok=True)
        STOP_FOLDER.chmod(0o711)
    seconds = str(unit.stop_timeout).encode()
    safe_files.write_atomic(_find_stop_file(unit.name), seconds, 0o644, survives_reboot=False)


def run_systemctl(command: str, name: str, *options: str) -> CapturedOutput:
    """Run `systemctl <command>` on one service."""
    return jobs.run_systemctl(command, *options, "--", f"{name}.service")


def _read_properties(name: str) -> dict[str, str]:
    """Read the unit's properties, when its log has the last lines of a process that has ended.

    Until then the log's writer is in the unit (`host.process.log_writer`), which is deactivating.
    """
    deadline, probing = Deadline(log_writer.LAST_LINES_SECONDS), Probing()
    while True:
        output = run_systemctl("show", name, "--property", ",".join(PROPERTIES)).stdout
        properties = parse_properties(output.decode())
        is_ending = properties.get("ActiveState") == "deactivating" and properties["MainPID"] == "0"
        if not is_ending or deadline.has_passed:
            return properties
        probing.pause()


def parse_properties(output: str) -> dict[str, str]:
    """Parse the output of `systemctl show`: one property a line."""
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def to_unit_status(
    properties: Mapping[str, str], spec: Mapping[str, Any], *, listening: Listening, holder: str
) -> UnitStatus:
    """Return the status that systemd's properties of a unit mean."""
    pid = int(properties["MainPID"])
    is_active = pid != 0 and properties["ActiveState"] in RUNNING
    start_microseconds = int(properties["ExecMainStartTimestampMonotonic"])  # 0: never started
    exit_code = None
    if start_microseconds and not is_active:
        number = int(properties["ExecMainStatus"])
        exit_code = number if properties["ExecMainCode"] == EXITED else -number
    has_ended = start_microseconds and not is_active and "log" in spec
    # systemd has ended what the process may have left.
    background = describe_background(exit_code, (), ())
    return UnitStatus(
        is_active,
        pid=pid or None,
        start_time=start_microseconds / 1e6 if start_microseconds else None,
        exit_code=exit_code,
        listening=listening,
        port_holder=holder,
        failure=describe_end(Path(spec["log"]), spec["log_start"], exit_code, background)
        if has_ended
        else "",
        restarts=int(properties.get("NRestarts", "0")),
    )


def find_cgroup_inode(path: str) -> int | None:
    """Return the inode of a unit's cgroup, which is the kernel's id for it; None if it has none."""
    root = next((line.split()[1] for line in _read_mounts() if line.split()[2] == "cgroup2"), None)
    try:
        return Path(root + path).stat().st_ino if root and path else None
    except FileNotFoundError:
        return None


def _read_mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()
