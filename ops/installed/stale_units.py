"""Which running units were started before a file that they read was changed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.config import Config
from host.process import runner
from host.units.control_units import API, WORKER
from host.units.systemd_manager import parse_properties
from slots.runtime import surface_env_files
from slots.runtime.web_units import ROUTER, SURFACE_PREFIX, find_router_config

UNITS = Path("/etc/systemd/system")
COMMAND_SECONDS = 20.0
# File systems and the kernel's clock differ by less than this.
TOLERANCE_SECONDS = 0.05


@dataclass(frozen=True)
class StaleUnit:
    """A running unit, and the files that were changed since it read them."""

    name: str
    files: tuple[Path, ...]

    @property
    def can_reload(self) -> bool:
        """Whether it takes new settings without an interruption: Caddy does."""
        return self.name.startswith((SURFACE_PREFIX, ROUTER)) and not any(
            path.suffix in (".service", ".conf") for path in self.files
        )

    def __str__(self) -> str:
        return f"{self.name} runs with an earlier {', '.join(map(str, self.files))}"


def list_read_files(config: Config) -> dict[str, list[Path]]:
    """Return the files that each lasting unit reads when it starts, by its name."""
    folder, home = config.env_dir, config.home
    control, web = [folder / "api.env", folder / "worker.env"], folder / "web.env"
    files = {API: control, WORKER: control, ROUTER: [web, *_list_router_files(config)]}
    for name in surface_env_files.list_names(config):
        own = surface_env_files.find_path(config, name)
        files[f"{SURFACE_PREFIX}{name}"] = [web, own, home / "infra/caddy/Surface.Caddyfile"]
    return {name: [*paths, *_list_definitions(name)] for name, paths in files.items()}


def _list_router_files(config: Config) -> list[Path]:
    folder = config.home / "infra/caddy"
    return [find_router_config(config), *sorted(folder.glob("*.caddy"))]


def _list_definitions(name: str) -> list[Path]:
    template = f"{name.partition('@')[0]}@" if "@" in name else name
    file = UNITS / f"{template}.service"
    return [file, *sorted(Path(f"{file}.d").glob("*.conf"))]


def find_stale_units(config: Config) -> list[StaleUnit]:
    """Return the running units of the control plane with the files that changed since."""
    changes = {
        name: {path: path.stat().st_mtime for path in paths if path.exists()}
        for name, paths in list_read_files(config).items()
    }
    return select_stale(changes, {name: _read_start(name) for name in changes})


def select_stale(
    changes: Mapping[str, Mapping[Path, float]], starts: Mapping[str, float | None]
) -> list[StaleUnit]:
    """Return the units that started before one of their files changed; None: it does not run."""
    stale = []
    for name, files in changes.items():
        start = starts[name]
        if start is None:
            continue
        later = tuple(path for path, at in files.items() if at > start + TOLERANCE_SECONDS)
        if later:
            stale.append(StaleUnit(name, later))
    return stale


def _read_start(name: str) -> float | None:
    """Return when the unit started or was reloaded, in Unix time; None if it does not run."""
    words = ("ActiveState", "StateChangeTimestampMonotonic")
    argv = ["systemctl", "show", f"{name}.service", "--property", ",".join(words)]
    output = runner.capture(argv, timeout=COMMAND_SECONDS).stdout.decode()
    found = parse_properties(output)
    if found.get("ActiveState") not in ("active", "reloading"):
        return None
    age = time.clock_gettime(time.CLOCK_MONOTONIC) - int(found[words[1]]) / 1e6
    return time.time() - age


def describe_stale(units: Sequence[StaleUnit]) -> str:
    """Return the units and their files, to end a sentence; "" if there are none."""
    return "; ".join(map(str, units))
