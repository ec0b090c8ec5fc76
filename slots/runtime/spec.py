"""What a slot should run: `spec.json`, and `environment.json` beside it, both 0600.

A spec without a run means the idle page, and so does a missing spec.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import safe_files
from host.units.unit import STOP_SECONDS, HealthCheck
from slots.runtime import worktree


@dataclass(frozen=True)
class ProcessSpec:
    """A process of a run beside `web`: it runs while that does.

    `stop_timeout` is in seconds, between SIGTERM and SIGKILL. A server has a `port_index`, the
    place of its port among the slot's, and a `health_path` unless / is a guess.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    stop_timeout: float = STOP_SECONDS
    port_index: int | None = None
    health_path: str = ""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "ProcessSpec":
        return cls(**{**raw, "argv": tuple(raw["argv"]), "cwd": Path(raw["cwd"])})


@dataclass(frozen=True)
class Spec:
    """The backend of a run, or without a run the idle page; `wanted` is up or down.

    `processes` are all other processes of the run, servers among them.

    `host`, `is_health_guess` and `is_https` are those of `HealthCheck`. `release` is the
    application's migration command and `template` the database that the slot's is a clone of: the
    commands that migrate and reset by hand use both. `extensions` are PostgreSQL's, which the
    manifest asks for.
    """

    run_id: str | None
    commit: str
    fence: int
    argv: tuple[str, ...]
    cwd: Path
    health_path: str = "/health"
    wanted: str = "up"
    host: str = ""
    is_health_guess: bool = False
    is_https: bool = False
    release: tuple[str, ...] | None = None
    template: str | None = None
    processes: tuple[ProcessSpec, ...] = ()
    extensions: tuple[str, ...] = ()

    @property
    def is_idle(self) -> bool:
        return self.run_id is None

    @property
    def health(self) -> HealthCheck:
        """How the backend is probed."""
        return HealthCheck(self.health_path, self.is_health_guess, self.host, self.is_https)

    def build_server_check(self, process: ProcessSpec) -> HealthCheck:
        """Return how a server beside `web` is probed."""
        return HealthCheck.for_server(process.health_path, self.host, is_https=self.is_https)

    @property
    def servers(self) -> tuple[ProcessSpec, ...]:
        """The processes with a port beside `web`."""
        return tuple(one for one in self.processes if one.port_index is not None)


IDLE_SPEC = Spec(run_id=None, commit="", fence=0, argv=(), cwd=Path("/"))


def write(config: Config, slot: SlotConfig, spec: Spec, environment: Mapping[str, str]) -> None:
    """Write the spec and the complete environment of its process."""
    worktree.prepare_folder(config, slot)
    # The environment first: a spec whose environment is missing could not be started.
    encoded = json.dumps(dict(environment), indent=1).encode()
    safe_files.write_atomic(slot.folder / "environment.json", encoded, 0o600)
    _write_spec(slot, spec)


def read(slot: SlotConfig) -> Spec:
    """Return the slot's spec, `IDLE_SPEC` if there is none. Raises Refused `spec_invalid`."""
    try:
        raw = json.loads((slot.folder / "spec.json").read_text())
        names = ("argv", "release", "extensions")
        lists = {key: tuple(raw[key]) for key in names if raw.get(key) is not None}
        # A spec that an earlier version wrote has no processes.
        processes = tuple(map(ProcessSpec.from_json, raw.get("processes", ())))
        return Spec(**{**raw, **lists, "cwd": Path(raw["cwd"]), "processes": processes})
    except FileNotFoundError:
        return IDLE_SPEC
    except (ValueError, TypeError, KeyError) as error:
        detail = f"{slot.folder}/spec.json cannot be read: {error}; release the slot."
        raise Refused("spec_invalid", detail) from error


def read_environment(slot: SlotConfig) -> dict[str, str]:
    """Return the complete environment of the run's backend. Raises Refused `spec_invalid`."""
    try:
        values = json.loads((slot.folder / "environment.json").read_text())
    except (FileNotFoundError, ValueError) as error:
        detail = f"The environment of {slot.slot_id} cannot be read; prepare the run again."
        raise Refused("spec_invalid", detail) from error
    return {str(name): str(value) for name, value in values.items()}


def set_wanted(config: Config, slot: SlotConfig, wanted: str) -> Spec:
    """Write whether the backend should be up or down; return the new spec."""
    spec = read(slot)
    if spec.wanted != wanted:
        worktree.prepare_folder(config, slot)
        spec = replace(spec, wanted=wanted)
        _write_spec(slot, spec)
    return spec


def delete(slot: SlotConfig) -> None:
    """Delete the spec, then the environment with its passwords. May be repeated."""
    # The spec first, for the same reason as in `write`.
    (slot.folder / "spec.json").unlink(missing_ok=True)
    (slot.folder / "environment.json").unlink(missing_ok=True)


def _write_spec(slot: SlotConfig, spec: Spec) -> None:
    text = json.dumps(asdict(spec), indent=1, default=str) + "\n"
    safe_files.write_atomic(slot.folder / "spec.json", text.encode(), 0o600)
