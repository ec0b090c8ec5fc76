"""The production backend that serves the live release, read from files: no Django, no database."""

from dataclasses import dataclass
from typing import Any

from host.config import Config
from ops import preflight
from releases.builds import build_manifest
from releases.production import current_link


@dataclass(frozen=True)
class LiveBackend:
    """The colour that serves the live release: its unit, its port, its health path."""

    unit: str
    port: int
    health_path: str
    # Builds of earlier versions do not say it: their path was always checked strictly.
    is_health_guess: bool = False


def read_notes(config: Config) -> list[str]:
    """Return the notes of the live release's build: what of its application is not honored."""
    current = current_link.read(config)
    manifest = None if current is None else _read_manifest(config, current.commit)
    return [] if manifest is None else manifest.get("notes", [])


def find_live_backend(config: Config) -> LiveBackend | None:
    """Return the live release's backend; None if no release is live or it has no backend."""
    current = current_link.read(config)
    if current is None:
        return None
    manifest = _read_manifest(config, current.commit)
    if manifest is None or manifest["web"] is None:
        return None
    for _, port, unit in preflight.list_ports(config):
        if current.address == f"127.0.0.1:{port}":
            stated = manifest["manifest"]
            is_guess = stated.get("is_health_guess", False)
            return LiveBackend(unit, port, stated["health_path"], is_guess)
    return None


def _read_manifest(config: Config, commit: str) -> dict[str, Any] | None:
    """Return the build manifest of a commit.

    The link names the commit only. Every build of a commit has the same web process and health
    path, since both come from the commit's manifest: any of them will do.
    """
    builds = (config.var / "releases").glob(f"r-*-{commit[:12]}")
    return next(filter(None, map(build_manifest.read_manifest, builds)), None)
