"""How a build is started: commands and health path, stored in its build manifest. No Django.

They are decided once, when the build is made: the host may have other interpreters by the time of
a rollback. See docs/decisions/0006.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from host.app.manifest import Manifest
from host.app.planning import Command, Plan
from host.config import Config
from host.errors import Refused
from releases.builds import build_manifest
from releases.builds.build_folders import build_folder


@dataclass(frozen=True)
class LaunchSpec:
    """The commands of a build; `bins` are the folders of its installed programs, for PATH."""

    web: Command | None
    release: Command | None
    health_path: str
    bins: list[Path]

    @classmethod
    def from_plan(cls, plan: Plan, manifest: Manifest, bins: list[Path]) -> "LaunchSpec":
        return cls(plan.web, plan.release, manifest.health_path, bins)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the keys that the build manifest has of it."""
        return {
            "web": self.web and asdict(self.web),
            "release": self.release and asdict(self.release),
            "health_path": self.health_path,
            "bins": [str(path) for path in self.bins],
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
        manifest["health_path"],
        [Path(path) for path in manifest["bins"]],
    )
