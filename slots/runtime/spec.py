"""What a slot is meant to run: `spec.json`, and the backend's environment beside it, both 0600.

A spec without a run means the idle responder; so does a slot without a spec.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import safe_files
from slots.runtime import worktree


@dataclass(frozen=True)
class Spec:
    """The backend of a run, or (without a run) the idle responder, and whether it should be up.

    `release` is the application's migration command and `template` the database it began as, for
    the commands that migrate and reset by hand.
    """

    run_id: str | None
    commit: str
    fence: int
    argv: tuple[str, ...]
    cwd: Path
    health_path: str = "/health"
    wanted: str = "up"
    host: str = "127.0.0.1"
    release: tuple[str, ...] | None = None
    template: str | None = None

    @property
    def is_idle(self) -> bool:
        return self.run_id is None


IDLE = Spec(run_id=None, commit="", fence=0, argv=(), cwd=Path("/"))


def write(config: Config, slot: SlotConfig, spec: Spec, environment: Mapping[str, str]) -> None:
    """Keep the spec and the complete environment of its process, the environment first."""
    worktree.prepare_folder(config, slot)
    encoded = json.dumps(dict(environment), indent=1).encode()
    safe_files.write_atomic(slot.folder / "environment.json", encoded, 0o600)
    _write_spec(slot, spec)


def read(slot: SlotConfig) -> Spec:
    """Return the slot's spec; the idle one if there is none. Raises Refused `spec_invalid`."""
    try:
        raw = json.loads((slot.folder / "spec.json").read_text())
        lists = {key: tuple(raw[key]) for key in ("argv", "release") if raw[key] is not None}
        return Spec(**{**raw, **lists, "cwd": Path(raw["cwd"])})
    except FileNotFoundError:
        return IDLE
    except (ValueError, TypeError, KeyError) as error:
        detail = f"{slot.folder}/spec.json cannot be read: {error}; release the slot."
        raise Refused("spec_invalid", detail) from error


def environment(slot: SlotConfig) -> dict[str, str]:
    """Return the complete environment of the run's backend. Raises Refused `spec_invalid`."""
    try:
        values = json.loads((slot.folder / "environment.json").read_text())
    except (FileNotFoundError, ValueError) as error:
        detail = f"The environment of {slot.slot_id} cannot be read; prepare the run again."
        raise Refused("spec_invalid", detail) from error
    return {str(name): str(value) for name, value in values.items()}


def want(config: Config, slot: SlotConfig, wanted: str) -> Spec:
    """Note that the occupant should be up or down; returns the spec as it is now."""
    spec = read(slot)
    if spec.wanted != wanted:
        worktree.prepare_folder(config, slot)
        spec = replace(spec, wanted=wanted)
        _write_spec(slot, spec)
    return spec


def forget(slot: SlotConfig) -> None:
    """Remove the spec, then the environment with its passwords. May be repeated."""
    (slot.folder / "spec.json").unlink(missing_ok=True)
    (slot.folder / "environment.json").unlink(missing_ok=True)


def _write_spec(slot: SlotConfig, spec: Spec) -> None:
    text = json.dumps(asdict(spec), indent=1, default=str) + "\n"
    safe_files.write_atomic(slot.folder / "spec.json", text.encode(), 0o600)
