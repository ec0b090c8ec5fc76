"""How a build is started: commands and variables, stored in its build manifest. No Django.

They are decided once, when the build is made: the host may have other interpreters by the time of
a rollback, and reading the application's manifest again takes longer than the rest of a rollback.
See docs/decisions/0006.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from host.app.manifest import Manifest
from host.app.planning import BackgroundCommand, Command, Plan
from host.config import Config
from host.errors import Refused
from host.files.site_fallback import Fallback
from releases.builds import build_manifest
from releases.builds.build_folders import build_folder

# What a deployment asks of the application's manifest.
MANIFEST_FIELDS = (
    "health_path",
    "is_health_guess",
    "stop_timeout",
    "backend_dir",
    "frontend_dir",
    "frontend_output",
    "routes",
    "detected_routes",
    "env",
    "env_defaults",
    "env_detected",
    "env_generated",
    "env_required",
    "storage",
    "redis",
    "extensions",
)


@dataclass(frozen=True)
class LaunchSpec:
    """The commands of a build; `bins` are the folders of its installed programs, for PATH.

    A `manifest` that was read from a build has only `MANIFEST_FIELDS`.
    """

    web: Command | None
    release: Command | None
    manifest: Manifest
    bins: list[Path]
    fallback: Fallback = Fallback.INDEX
    processes: tuple[BackgroundCommand, ...] = ()

    @property
    def servers(self) -> tuple[BackgroundCommand, ...]:
        """The processes with a port beside `web`."""
        return tuple(process for process in self.processes if process.is_server)

    @property
    def background(self) -> tuple[BackgroundCommand, ...]:
        """The processes without a port."""
        return tuple(process for process in self.processes if not process.is_server)

    @classmethod
    def from_plan(
        cls, plan: Plan, manifest: Manifest, bins: list[Path], fallback: Fallback
    ) -> "LaunchSpec":
        return cls(plan.web, plan.release, manifest, bins, fallback, plan.processes)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the keys that the build manifest has of it."""
        return {
            "web": self.web and asdict(self.web),
            "release": self.release and asdict(self.release),
            "manifest": {name: getattr(self.manifest, name) for name in MANIFEST_FIELDS},
            "bins": [str(path) for path in self.bins],
            "fallback": self.fallback,
            "processes": [asdict(process) for process in self.processes],
        }


def read_launch_spec(config: Config, release_id: str) -> LaunchSpec:
    """Read it from the build manifest. Raises Refused `release_corrupt` if there is none."""
    manifest = build_manifest.read_manifest(build_folder(config, release_id))
    if manifest is None:
        raise Refused("release_corrupt", f"The build of {release_id} is gone; deploy it again.")
    web, release = manifest["web"], manifest["release"]
    return LaunchSpec(
        Command(**web) if web else None,
        Command(**release) if release else None,
        Manifest(**manifest["manifest"]),
        [Path(path) for path in manifest["bins"]],
        _parse_fallback(manifest),
        # Builds that were made before there were processes have none.
        tuple(_parse_process(raw) for raw in manifest.get("processes", ())),
    )


def _parse_process(raw: Mapping[str, Any]) -> BackgroundCommand:
    return BackgroundCommand(**{**raw, "command": Command(**raw["command"])})


def read_fallback(config: Config, release_id: str) -> Fallback:
    """Return what the surface answers for a path that is no file of the build's frontend."""
    return _parse_fallback(build_manifest.read_manifest(build_folder(config, release_id)) or {})


def _parse_fallback(manifest: Mapping[str, Any]) -> Fallback:
    # Builds that were made before there was a choice had index.html.
    return Fallback(manifest.get("fallback", Fallback.INDEX))
